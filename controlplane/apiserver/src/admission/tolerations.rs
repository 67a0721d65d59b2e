//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or unreachable.

use serde_json::{Value, json};

use super::request::Request;

const SECONDS: u32 = 300;

pub fn admit(request: &Request<'_>, pod: &mut Value) {
    if (request.is_create() || request.is_update()) && request.is("", "pods") {
        add(pod);
    }
}

fn add(pod: &mut Value) {
    let mut list = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !list.iter().any(|toleration| tolerates(toleration, key)) {
            list.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    pod["spec"]["tolerations"] = Value::Array(list);
}

fn tolerates(toleration: &Value, key: &str) -> bool {
    let text = |field: &str| toleration[field].as_str().unwrap_or_default();
    (text("key") == key || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_added_once() {
        let mut pod = json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]}});
        add(&mut pod);
        add(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
    }
}
