//! `fieldRef` and `resourceFieldRef`, for variables and downward API files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use super::{NodeFacts, Rejection};
use crate::quantity;

/// The value of a pod's field.
///
/// # Errors
/// The path names no field that the downward API knows.
pub fn field(pod: &Pod, path: &str, facts: &NodeFacts) -> Result<String, Rejection> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some(key) = subscript(path, "metadata.labels") {
        return Ok(meta.labels.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default());
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        let all = meta.annotations.as_ref();
        return Ok(all.and_then(|all| all.get(key)).cloned().unwrap_or_default());
    }
    let account = || spec.and_then(|spec| spec.service_account_name.clone());
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => map_text(meta.labels.as_ref()),
        "metadata.annotations" => map_text(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => account().unwrap_or_else(|| "default".into()),
        "status.hostIP" | "status.hostIPs" => facts.node_ip.clone(),
        "status.podIP" | "status.podIPs" => facts.pod_ip.clone(),
        other => return Err(Rejection::config(format!("unsupported fieldPath: {other}"))),
    })
}

fn subscript<'a>(path: &'a str, of: &str) -> Option<&'a str> {
    path.strip_prefix(of)?.strip_prefix("['")?.strip_suffix("']")
}

/// `key="value"` lines, sorted; quoted as Go's `%q`.
fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// The value of a container's resource, divided and rounded up.
///
/// # Errors
/// No such container or resource, or a divisor that is no quantity.
pub fn resource(
    pod: &Pod,
    selector: &ResourceFieldSelector,
    own_container: &str,
    facts: &NodeFacts,
) -> Result<String, Rejection> {
    let name = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let name = name.unwrap_or(own_container);
    let container = find_container(pod, name)
        .ok_or_else(|| Rejection::config(format!("container {name} not found")))?;
    let unsupported =
        || Rejection::config(format!("unsupported container resource: {}", selector.resource));
    let (list, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let fallback = match resource {
        "cpu" => facts.cpu_milli,
        "memory" => facts.memory_bytes.saturating_mul(1000),
        "ephemeral-storage" => 0,
        _ => return Err(unsupported()),
    };
    let resources = container.resources.clone().unwrap_or_default();
    let limit = resources.limits.as_ref().and_then(|all| all.get(resource)).cloned();
    let request = resources.requests.as_ref().and_then(|all| all.get(resource)).cloned();
    let value = match list {
        "limits" => limit.and_then(|value| quantity::milli(&value.0)).unwrap_or(fallback),
        "requests" => request.or(limit).and_then(|value| quantity::milli(&value.0)).unwrap_or(0),
        _ => return Err(unsupported()),
    };
    let divisor = selector.divisor.as_ref().map_or("1", |divisor| divisor.0.as_str());
    let divisor = quantity::milli(if divisor == "0" { "1" } else { divisor })
        .filter(|divisor| *divisor > 0)
        .ok_or_else(|| Rejection::config(format!("invalid divisor \"{divisor}\"")))?;
    Ok((value / divisor + i64::from(value % divisor != 0)).to_string())
}

fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|c| c.name == name)
}
