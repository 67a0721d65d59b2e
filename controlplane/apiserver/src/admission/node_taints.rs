//! TaintNodesByCondition: a new node is not ready until the node controller has seen that it is.

use serde_json::{Value, json};

use super::request::Request;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub fn admit(request: &Request<'_>, node: &mut Value) {
    if request.is_create() && request.is("", "nodes") {
        taint(node);
    }
}

fn taint(node: &mut Value) {
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    if !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule") {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    node["spec"]["taints"] = Value::Array(taints);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taint_is_added_once() {
        let mut node = json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}});
        taint(&mut node);
        taint(&mut node);
        assert_eq!(node["spec"]["taints"].as_array().unwrap().len(), 2);
    }
}
