//! What a quota's status should say. Pure.

use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use serde_json::Value;

/// Objects of one resource (group, plural).
pub(super) type Counted = ((String, String), Vec<Value>);

/// Whether the status covers exactly the limits of the spec.
pub(super) fn is_current(quota: &ResourceQuota) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    let status = quota.status.clone().unwrap_or_default();
    let used = status.used.unwrap_or_default();
    status.hard.unwrap_or_default() == hard && hard.keys().eq(used.keys())
}

/// Whether a pod has come to an end, so that it uses less than before.
pub(super) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The status after counting; `None` when it is as it should be.
pub(super) fn status(quota: &Value, counted: &[Counted], now: i64) -> Option<Value> {
    let mut used = api::resources::Amounts::new();
    for ((group, resource), objects) in counted {
        used.extend(api::quota::total(quota, (group, resource), objects, now));
    }
    let status = api::quota::status(quota, &used);
    (status != quota["status"]).then_some(status)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usage_is_what_is_there() {
        let mut quota = json!({"spec": {"hard": {"pods": "3", "configmaps": "2"}}});
        let pod = json!({"spec": {"containers": []}});
        let ended = json!({"spec": {"containers": []}, "status": {"phase": "Failed"}});
        let core = |resource: &str| (String::new(), resource.to_owned());
        let counted =
            [(core("pods"), vec![pod.clone(), ended, pod]), (core("configmaps"), Vec::new())];
        let status = status(&quota, &counted, 0).unwrap();
        assert_eq!(status["used"], json!({"pods": "2", "configmaps": "0"}));
        assert_eq!(status["hard"], quota["spec"]["hard"]);
        quota["status"] = status;
        assert_eq!(super::status(&quota, &counted, 0), None);
        let typed: ResourceQuota = serde_json::from_value(quota.clone()).unwrap();
        assert!(is_current(&typed));
        quota["status"]["hard"]["pods"] = json!("9");
        let typed: ResourceQuota = serde_json::from_value(quota).unwrap();
        assert!(!is_current(&typed));
    }
}
