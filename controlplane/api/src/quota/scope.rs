//! Which objects a quota with scopes takes in. Upstream: `podMatchesScopeFunc` and `pvcMatchesScopeFunc`.

use serde_json::{Value, json};

/// Whether an object of a resource is counted by a quota's scopes. A quota without scopes counts everything;
/// scopes are about pods, and `VolumeAttributesClass` about claims.
#[must_use]
pub fn matches_scopes(quota: &Value, (group, resource): (&str, &str), object: &Value) -> bool {
    requirements(quota).iter().all(|requirement| {
        let scope = requirement["scopeName"].as_str().unwrap_or_default();
        let about_claims = scope == "VolumeAttributesClass";
        match (group, resource) {
            ("", "pods") if !about_claims => pod_matches(requirement, scope, object),
            ("", "persistentvolumeclaims") if about_claims => {
                let class = &object["spec"]["volumeAttributesClassName"];
                matches(requirement, class.as_str())
            }
            _ => false,
        }
    })
}

/// `scopes` and `scopeSelector` as one list.
fn requirements(quota: &Value) -> Vec<Value> {
    let spec = &quota["spec"];
    let plain = spec["scopes"].as_array().into_iter().flatten();
    let mut all: Vec<Value> =
        plain.map(|scope| json!({"scopeName": scope, "operator": "Exists"})).collect();
    all.extend(spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten().cloned());
    all
}

fn pod_matches(requirement: &Value, scope: &str, pod: &Value) -> bool {
    let spec = &pod["spec"];
    let terminating = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "CrossNamespacePodAffinity" => reaches_other_namespaces(pod),
        "PriorityClass" => {
            let class = spec["priorityClassName"].as_str().filter(|name| !name.is_empty());
            matches(requirement, class)
        }
        _ => false,
    }
}

fn matches(requirement: &Value, value: Option<&str>) -> bool {
    let values = requirement["values"].as_array().map_or(&[][..], Vec::as_slice);
    let listed = || value.is_some_and(|value| values.iter().any(|one| one == value));
    match requirement["operator"].as_str().unwrap_or("Exists") {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

fn is_best_effort(pod: &Value) -> bool {
    crate::rules::qos_class(pod) == "BestEffort"
}

fn reaches_other_namespaces(pod: &Value) -> bool {
    let affinity = &pod["spec"]["affinity"];
    ["podAffinity", "podAntiAffinity"].iter().any(|which| {
        let required =
            affinity[*which]["requiredDuringSchedulingIgnoredDuringExecution"].as_array();
        let preferred =
            affinity[*which]["preferredDuringSchedulingIgnoredDuringExecution"].as_array();
        let preferred = preferred.into_iter().flatten().map(|term| &term["podAffinityTerm"]);
        required.into_iter().flatten().chain(preferred).any(|term| {
            let named = term["namespaces"].as_array().is_some_and(|list| !list.is_empty());
            named || term["namespaceSelector"].is_object()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_choose_pods() {
        let busy = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]});
        let idle = json!({"containers": [{"name": "a"}], "activeDeadlineSeconds": 5, "priorityClassName": "high"});
        let near = json!({"containers": [{"name": "a"}], "affinity": {"podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}});
        let selector = |operator: &str, values: Value| {
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values}]}})
        };
        for (spec, expect) in [
            (json!({}), [true, true, true]),
            (json!({"scopes": ["BestEffort"]}), [false, true, true]),
            (json!({"scopes": ["NotBestEffort"]}), [true, false, false]),
            (json!({"scopes": ["Terminating"]}), [false, true, false]),
            (json!({"scopes": ["NotTerminating", "BestEffort"]}), [false, false, true]),
            (json!({"scopes": ["CrossNamespacePodAffinity"]}), [false, false, true]),
            (selector("In", json!(["high"])), [false, true, false]),
            (selector("NotIn", json!(["high"])), [true, false, true]),
            (selector("DoesNotExist", json!([])), [true, false, true]),
        ] {
            let quota = json!({"spec": spec});
            let got = [&busy, &idle, &near]
                .map(|spec| matches_scopes(&quota, ("", "pods"), &json!({"spec": spec})));
            assert_eq!(got, expect, "{quota}");
        }
        let scoped = json!({"spec": {"scopes": ["BestEffort"]}});
        assert!(!matches_scopes(&scoped, ("", "services"), &json!({})));
    }
}
