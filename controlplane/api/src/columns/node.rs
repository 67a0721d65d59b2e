//! Columns of nodes, upstream `printNode`.

use serde_json::{Value, json};

use super::Column;
use super::cells::{NONE, UNKNOWN, age, at, joined, list, name, or, text, wide};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

pub(super) fn columns() -> Vec<Column> {
    vec![
        name(),
        text("Status", |node, _| json!(status(node))),
        text("Roles", |node, _| json!(roles(node))),
        age(),
        text("Version", |node, _| json!(at(node, "status.nodeInfo.kubeletVersion"))),
        wide("Internal-IP", |node, _| json!(address(node, "InternalIP"))),
        wide("External-IP", |node, _| json!(address(node, "ExternalIP"))),
        wide("OS-Image", |node, _| json!(or(at(node, "status.nodeInfo.osImage"), UNKNOWN))),
        wide("Kernel-Version", |node, _| {
            json!(or(at(node, "status.nodeInfo.kernelVersion"), UNKNOWN))
        }),
        wide("Container-Runtime", |node, _| {
            json!(or(at(node, "status.nodeInfo.containerRuntimeVersion"), UNKNOWN))
        }),
    ]
}

fn status(node: &Value) -> String {
    let ready = list(node, "status.conditions").iter().find(|one| one["type"] == "Ready");
    let mut text = match ready.map(|one| at(one, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        text += ",SchedulingDisabled";
    }
    text
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<String> = node["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role.to_owned()),
            None if key == ROLE_LABEL => value.as_str().map(str::to_owned),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort();
    roles.dedup();
    joined(roles)
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let found = list(node, "status.addresses").iter().find(|one| one["type"] == kind);
    found.map_or(NONE, |one| at(one, "address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_read_like_upstream() {
        let node = json!({"metadata": {"labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "a"}},
            "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        assert_eq!(status(&node), "Ready,SchedulingDisabled");
        assert_eq!(roles(&node), "a,worker");
        assert_eq!(address(&node, "InternalIP"), "10.0.0.1");
        assert_eq!((status(&json!({})), roles(&json!({}))), ("Unknown".into(), "<none>".into()));
    }
}
