//! What one object counts for. Upstream: `pkg/quota/v1/evaluator/core`.

use serde_json::Value;

use super::{PLAIN, count_name};
use crate::{
    quantity::{Format, Quantity},
    resources::{Amounts, Part, parse, pod_total},
};

pub(super) const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// Counted under their own name and as `requests.<name>`.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

fn one() -> Quantity {
    number(1)
}

fn number(count: usize) -> Quantity {
    Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// Everything that an object of a resource counts for. `now` in Unix seconds.
#[must_use]
pub fn usage(group: &str, resource: &str, object: &Value, now: i64) -> Amounts {
    let mut used = Amounts::new();
    used.insert(count_name(group, resource), one());
    if !group.is_empty() {
        return used;
    }
    match resource {
        "pods" => add_pod(&mut used, object, now),
        "services" => add_service(&mut used, object),
        "persistentvolumeclaims" => add_claim(&mut used, object),
        _ if PLAIN.contains(&resource) => drop(used.insert(resource.to_owned(), one())),
        _ => {}
    }
    used
}

/// Whether a limit of this name is about pods' resources.
pub(super) fn is_pod_limit(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits."));
    let bare = bare.unwrap_or(name);
    COMPUTE.contains(&bare)
        || bare.starts_with("hugepages-")
        || (name.starts_with("requests.") && bare.contains('/'))
}

/// A pod that has ended, or should have, uses no more than its place in the store.
fn is_over(pod: &Value, now: i64) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return true;
    }
    let deleted = pod["metadata"]["deletionTimestamp"].as_str();
    let deleted = deleted.and_then(crate::time::parse);
    let graceful = pod["metadata"]["deletionGracePeriodSeconds"].is_i64();
    deleted.is_some_and(|time| graceful && now > time.seconds)
}

fn add_pod(used: &mut Amounts, pod: &Value, now: i64) {
    if is_over(pod, now) {
        return;
    }
    used.insert("pods".into(), one());
    for (name, amount) in pod_total(pod, Part::Requests, true) {
        let is_huge = name.starts_with("hugepages-");
        if COMPUTE.contains(&name.as_str()) || is_huge {
            used.insert(format!("requests.{name}"), amount);
            used.insert(name, amount);
        } else if name.contains('/') {
            used.insert(format!("requests.{name}"), amount);
        }
    }
    for (name, amount) in pod_total(pod, Part::Limits, true) {
        if COMPUTE.contains(&name.as_str()) {
            used.insert(format!("limits.{name}"), amount);
        }
    }
}

fn add_service(used: &mut Amounts, service: &Value) {
    used.insert("services".into(), one());
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let node_ports = match spec["type"].as_str() {
        Some("NodePort") => ports.len(),
        Some("LoadBalancer") => {
            used.insert("services.loadbalancers".into(), one());
            if spec["allocateLoadBalancerNodePorts"] == false {
                ports.iter().filter(|port| port["nodePort"].as_u64().unwrap_or(0) > 0).count()
            } else {
                ports.len()
            }
        }
        _ => 0,
    };
    if node_ports > 0 {
        used.insert("services.nodeports".into(), number(node_ports));
    }
}

fn add_claim(used: &mut Amounts, claim: &Value) {
    let beta = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    let class = beta.as_str().or_else(|| claim["spec"]["storageClassName"].as_str());
    let class = class.filter(|class| !class.is_empty());
    used.insert("persistentvolumeclaims".into(), one());
    if let Some(class) = class {
        used.insert(format!("{class}{STORAGE_CLASS}persistentvolumeclaims"), one());
    }
    let asked = parse(&claim["spec"]["resources"]["requests"]["storage"]);
    let given = parse(&claim["status"]["allocatedResources"]["storage"]);
    let Some(bytes) = asked.max(given) else { return };
    used.insert("requests.storage".into(), bytes);
    if let Some(class) = class {
        used.insert(format!("{class}{STORAGE_CLASS}requests.storage"), bytes);
    }
}

/// What a quota on compute resources wants every container to say and this pod does not, as upstream words it:
/// `limits.cpu for: a,b; requests.memory for: a`. `None` when nothing is missing.
#[must_use]
pub fn missing_compute<'a>(
    limits: impl IntoIterator<Item = &'a String>,
    pod: &Value,
) -> Option<String> {
    let mut missing = Vec::new();
    for name in limits {
        let (part, resource) = match name.split_once('.') {
            Some(("requests", rest)) => (Part::Requests, rest),
            Some(("limits", rest)) => (Part::Limits, rest),
            _ => (Part::Requests, name.as_str()),
        };
        if !matches!(resource, "cpu" | "memory") {
            continue;
        }
        if pod["spec"]["resources"][part.field()].get(resource).is_some() {
            continue;
        }
        let lists = ["containers", "initContainers"];
        let containers = lists.iter().flat_map(|list| pod["spec"][*list].as_array()).flatten();
        let mut silent: Vec<&str> = containers
            .filter(|one| one["resources"][part.field()].get(resource).is_none())
            .filter_map(|one| one["name"].as_str())
            .collect();
        silent.sort_unstable();
        silent.dedup();
        if !silent.is_empty() {
            missing.push(format!("{name} for: {}", silent.join(",")));
        }
    }
    (!missing.is_empty()).then(|| missing.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(resource: &str, object: &Value) -> Vec<String> {
        let used = usage("", resource, object, 1_000);
        used.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    #[test]
    fn pods_count_while_they_live() {
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi", "x.com/gpu": "2"}, "limits": {"cpu": "1", "x.com/gpu": "2"}}}]}});
        assert_eq!(
            shown("pods", &pod),
            [
                "count/pods=1",
                "cpu=500m",
                "limits.cpu=1",
                "memory=1Gi",
                "pods=1",
                "requests.cpu=500m",
                "requests.memory=1Gi",
                "requests.x.com/gpu=2"
            ]
        );
        let mut ended = pod.clone();
        ended["status"] = json!({"phase": "Succeeded"});
        assert_eq!(shown("pods", &ended), ["count/pods=1"]);
        let mut late = pod;
        late["metadata"] =
            json!({"deletionTimestamp": "1970-01-01T00:00:10Z", "deletionGracePeriodSeconds": 1});
        assert_eq!(shown("pods", &late), ["count/pods=1"]);
    }

    #[test]
    fn services_and_claims_count_what_they_take() {
        let service =
            json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}});
        assert_eq!(
            shown("services", &service),
            ["count/services=1", "services=1", "services.loadbalancers=1", "services.nodeports=2"]
        );
        let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
        assert_eq!(
            shown("persistentvolumeclaims", &claim),
            [
                "count/persistentvolumeclaims=1",
                "gold.storageclass.storage.k8s.io/persistentvolumeclaims=1",
                "gold.storageclass.storage.k8s.io/requests.storage=1Gi",
                "persistentvolumeclaims=1",
                "requests.storage=1Gi"
            ]
        );
        let used = usage("apps", "deployments", &json!({}), 0);
        assert_eq!(used.keys().collect::<Vec<_>>(), ["count/deployments.apps"]);
    }

    #[test]
    fn silent_containers_are_named() {
        let pod = json!({"spec": {"containers": [
            {"name": "b", "resources": {"limits": {"cpu": "1"}}}, {"name": "a"}]}});
        let limits = ["limits.cpu", "memory", "pods"].map(str::to_owned);
        assert_eq!(missing_compute(&limits, &pod).unwrap(), "limits.cpu for: a; memory for: a,b");
        assert_eq!(missing_compute(&limits[2..], &pod), None);
    }
}
