//! Defaults of resource.k8s.io.

use serde_json::{Value, json};

use super::{default_text, items, text};

pub(super) fn apply(kind: &str, object: &mut Value) {
    let path = match kind {
        "ResourceClaim" => "/spec/devices",
        "ResourceClaimTemplate" => "/spec/spec/devices",
        _ => return,
    };
    let Some(devices) = object.pointer_mut(path) else { return };
    for request in items(devices, "requests") {
        if let Some(exactly) = request.get_mut("exactly") {
            apply_request(exactly);
        }
        items(request, "firstAvailable").for_each(apply_request);
    }
}

fn apply_request(request: &mut Value) {
    default_text(request, "allocationMode", "ExactCount");
    let counted = text(request, "allocationMode") == "ExactCount";
    if counted && request.get("count").and_then(Value::as_i64).unwrap_or(0) == 0 {
        request["count"] = json!(1);
    }
    items(request, "tolerations").for_each(|one| default_text(one, "operator", "Equal"));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::rules::tests::defaulted;

    #[test]
    fn requests_are_for_one_device() {
        let requests = json!([{"name": "a", "exactly": {"deviceClassName": "c", "tolerations": [{"key": "k"}]}},
            {"name": "b", "firstAvailable": [{"name": "s", "deviceClassName": "c", "allocationMode": "All"}]}]);
        let claim =
            defaulted("ResourceClaim", json!({"spec": {"devices": {"requests": requests}}}));
        assert_eq!(
            claim["spec"]["devices"]["requests"],
            json!([{"name": "a", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1,
                    "tolerations": [{"key": "k", "operator": "Equal"}]}},
                {"name": "b", "firstAvailable": [{"name": "s", "deviceClassName": "c", "allocationMode": "All"}]}])
        );
    }
}
