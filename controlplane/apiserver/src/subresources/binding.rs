//! `binding`: the scheduler's decision where a pod runs.

use api::{Status, meta};
use serde_json::{Value, json};

use crate::{
    admission,
    call::Call,
    clock,
    commit::{self, Next, Place},
    errors,
    respond::Reply,
};

pub async fn bind(mut call: Call) -> Result<Reply, Status> {
    let mut binding = call.read_plain().await?;
    let named = meta::name(&binding);
    if !named.is_empty() && !call.target.name.is_empty() && named != call.target.name {
        return Err(errors::bad_request("name in URL does not match name in Binding object"));
    }
    let name =
        if call.target.name.is_empty() { named.to_owned() } else { call.target.name.clone() };
    let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        let problem = "Required value: ";
        return Err(errors::invalid(
            &call.kind,
            &name,
            "target.name",
            "FieldValueRequired",
            problem,
        ));
    }
    admission::posted(&call, &mut binding).await?;
    let kind = pods(&call)?;
    let place = Place::new(&kind, &call.target.namespace, &name);
    let dry_run = call.query.dry_run()?;
    commit::update(&call.app, &kind, &place, dry_run, |current| {
        let pod = current.value();
        check(&kind, pod, &binding)?;
        Ok(Next::Put(bound(pod, &binding, &node)))
    })
    .await?;
    Ok(super::done(&call))
}

/// The row of pods, also for a POST to `bindings`.
fn pods(call: &Call) -> Result<std::sync::Arc<api::Kind>, Status> {
    call.app.registry.load().find("", "v1", "pods").cloned().ok_or_else(errors::unknown_path)
}

fn check(kind: &api::Kind, pod: &Value, binding: &Value) -> Result<(), Status> {
    let name = meta::name(pod);
    let uid = meta::uid(binding);
    if !uid.is_empty() && uid != meta::uid(pod) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(pod)
        );
        return Err(errors::conflict(kind, name, &why));
    }
    let problem = if pod["metadata"].get("deletionTimestamp").is_some() {
        format!("pod {name} is being deleted, cannot be assigned to a host")
    } else if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
        format!("pod {name} is already assigned to node {node:?}")
    } else if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        format!("pod {name} has non-empty .spec.schedulingGates")
    } else {
        return Ok(());
    };
    let mut status = errors::conflict(kind, name, &problem);
    status.message = format!("Operation cannot be fulfilled on pods/binding {name:?}: {problem}");
    status.kind = "pods/binding".into();
    Err(status)
}

fn bound(pod: &Value, binding: &Value, node: &str) -> Value {
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = json!(node);
    for (key, value) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
        pod["metadata"]["annotations"][key] = value.clone();
    }
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": clock::now(),
    });
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|condition| condition["type"] == "PodScheduled") {
        Some(present) => *present = condition,
        None => conditions.push(condition),
    }
    if !pod["status"].is_object() {
        pod["status"] = json!({"phase": "Pending"});
    }
    pod["status"]["conditions"] = Value::Array(conditions);
    pod
}
