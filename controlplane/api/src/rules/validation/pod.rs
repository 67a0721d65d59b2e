//! Pods and the specs of pod templates.

use serde_json::{Value, json};

use super::container::{self, Scene};
use super::{check_selector, items, metadata, sysctl, text, volume};
use crate::rules::names;
use crate::rules::problems::Problems;

const DNS_POLICIES: [&str; 4] = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
const CHANGEABLE: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(pod: &Value, old: Option<&Value>, problems: &mut Problems) {
    validate_spec(&pod["spec"], "spec", problems);
    if let Some(old) = old {
        check_update(pod, old, problems);
    }
}

/// Ephemeral containers are only added.
pub(super) fn check_ephemeral_update(new: &Value, old: &Value, problems: &mut Problems) {
    let path = "spec.ephemeralContainers";
    let list =
        |pod: &Value| pod["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default();
    let wanted = list(new);
    for one in list(old) {
        let name = text(&one, "name");
        match wanted.iter().find(|other| other["name"] == one["name"]) {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed");
                problems.forbidden(path, &why);
            }
            Some(other) if *other != one => {
                let why = format!("existing ephemeral containers {name:?} may not be changed");
                problems.forbidden(path, &why);
            }
            Some(_) => {}
        }
    }
}

/// A pod template below `path`.
pub(super) fn validate_template(template: &Value, path: &str, problems: &mut Problems) {
    let labels = format!("{path}.metadata.labels");
    metadata::labels(&template["metadata"]["labels"], &labels, problems);
    validate_spec(&template["spec"], &format!("{path}.spec"), problems);
}

pub(super) fn validate_spec(spec: &Value, path: &str, problems: &mut Problems) {
    volume::validate(spec, path, problems);
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let scene = Scene {
        volumes: volumes.map(|one| text(one, "name")).collect(),
        host_network: spec["hostNetwork"] == true,
    };
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        problems.required(&format!("{path}.containers"), "");
    }
    for list in ["containers", "initContainers"] {
        for (path, one) in items(spec, list, path) {
            container::validate(one, &path, &scene, problems);
        }
    }
    container::check_unique(spec, path, problems);
    check_init_policies(spec, path, problems);
    problems.check_choice(
        &format!("{path}.restartPolicy"),
        &spec["restartPolicy"],
        &RESTART_POLICIES,
    );
    problems.check_choice(&format!("{path}.dnsPolicy"), &spec["dnsPolicy"], &DNS_POLICIES);
    check_numbers(spec, path, problems);
    check_names(spec, path, problems);
    metadata::labels(&spec["nodeSelector"], &format!("{path}.nodeSelector"), problems);
    check_tolerations(spec, path, problems);
    check_affinity(&spec["affinity"], &format!("{path}.affinity"), problems);
    check_spread(spec, path, problems);
    sysctl::validate(&spec["securityContext"], &format!("{path}.securityContext"), problems);
}

/// Only init containers have restart policies of their own (sidecars).
fn check_init_policies(spec: &Value, path: &str, problems: &mut Problems) {
    for (path, one) in items(spec, "initContainers", path) {
        let sidecar = one["restartPolicy"] == "Always";
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            if !sidecar && one.get(probe).is_some_and(Value::is_object) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                problems.forbidden(&format!("{path}.{probe}"), detail);
            }
        }
        if !sidecar && one.get("lifecycle").is_some_and(Value::is_object) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            problems.forbidden(&format!("{path}.lifecycle"), detail);
        }
    }
}

fn check_numbers(spec: &Value, path: &str, problems: &mut Problems) {
    let grace = format!("{path}.terminationGracePeriodSeconds");
    problems.check_not_negative(&grace, &spec["terminationGracePeriodSeconds"]);
    let deadline = &spec["activeDeadlineSeconds"];
    if deadline.as_i64().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        problems.invalid(&format!("{path}.activeDeadlineSeconds"), deadline, detail);
    }
}

fn check_names(spec: &Value, path: &str, problems: &mut Problems) {
    type Check = fn(&str) -> Option<String>;
    for (field, check) in [
        ("serviceAccountName", names::dns1123_subdomain as Check),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
    ] {
        let value = text(spec, field);
        if !value.is_empty() {
            problems.check_text(&format!("{path}.{field}"), value, check(value));
        }
    }
    for (path, secret) in items(spec, "imagePullSecrets", path) {
        if text(secret, "name").is_empty() {
            problems.required(&format!("{path}.name"), "");
        }
    }
}

fn check_tolerations(spec: &Value, path: &str, problems: &mut Problems) {
    for (path, one) in items(spec, "tolerations", path) {
        let (key, operator) = (text(one, "key"), text(one, "operator"));
        if !key.is_empty() {
            problems.check_text(&format!("{path}.key"), key, names::label_key(key));
        }
        let at = format!("{path}.operator");
        match operator {
            "" | "Equal" if key.is_empty() => {
                let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
                problems.invalid(&at, &json!(operator), detail);
            }
            "" | "Equal" => {
                let value = text(one, "value");
                problems.check_text(&at, value, names::label_value(value));
            }
            "Exists" if !text(one, "value").is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                problems.invalid(&at, one, detail);
            }
            "Exists" | "Lt" | "Gt" => {}
            _ => problems.not_supported(&at, &one["operator"], &["Equal", "Exists"]),
        }
        if !text(one, "effect").is_empty() {
            problems.check_choice(&format!("{path}.effect"), &one["effect"], &EFFECTS);
        }
        if one.get("tolerationSeconds").is_some() && text(one, "effect") != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            problems.invalid(&format!("{path}.effect"), &one["effect"], detail);
        }
    }
}

fn check_affinity(affinity: &Value, path: &str, problems: &mut Problems) {
    let node = &affinity["nodeAffinity"];
    let required = &node["requiredDuringSchedulingIgnoredDuringExecution"];
    let at = format!("{path}.nodeAffinity");
    if required.is_object() && required["nodeSelectorTerms"].as_array().is_none_or(Vec::is_empty) {
        problems.required(
            &format!("{at}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"),
            "must have at least one node selector term",
        );
    }
    for (path, one) in items(node, "preferredDuringSchedulingIgnoredDuringExecution", &at) {
        check_weight(one, &path, problems);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = format!("{path}.{kind}");
        for (path, term) in
            items(&affinity[kind], "requiredDuringSchedulingIgnoredDuringExecution", &at)
        {
            check_term(term, &path, problems);
        }
        for (path, one) in
            items(&affinity[kind], "preferredDuringSchedulingIgnoredDuringExecution", &at)
        {
            check_weight(one, &path, problems);
            check_term(&one["podAffinityTerm"], &format!("{path}.podAffinityTerm"), problems);
        }
    }
}

fn check_weight(one: &Value, path: &str, problems: &mut Problems) {
    if !(1..=100).contains(&one["weight"].as_i64().unwrap_or(0)) {
        problems.invalid(&format!("{path}.weight"), &one["weight"], "must be in the range 1-100");
    }
}

fn check_term(term: &Value, path: &str, problems: &mut Problems) {
    check_selector(&term["labelSelector"], &format!("{path}.labelSelector"), problems);
    if text(term, "topologyKey").is_empty() {
        problems.required(&format!("{path}.topologyKey"), "can not be empty");
    }
}

fn check_spread(spec: &Value, path: &str, problems: &mut Problems) {
    for (path, one) in items(spec, "topologySpreadConstraints", path) {
        if one["maxSkew"].as_i64().unwrap_or(0) <= 0 {
            problems.invalid(&format!("{path}.maxSkew"), &one["maxSkew"], "must be greater than 0");
        }
        if text(one, "topologyKey").is_empty() {
            problems.required(&format!("{path}.topologyKey"), "can not be empty");
        }
        problems.check_choice(
            &format!("{path}.whenUnsatisfiable"),
            &one["whenUnsatisfiable"],
            &["DoNotSchedule", "ScheduleAnyway"],
        );
        check_selector(&one["labelSelector"], &format!("{path}.labelSelector"), problems);
    }
}

/// A running pod's spec is fixed but for a few fields.
fn check_update(pod: &Value, old: &Value, problems: &mut Problems) {
    for list in ["containers", "initContainers"] {
        let count = |pod: &Value| pod["spec"][list].as_array().map_or(0, Vec::len);
        if count(pod) != count(old) {
            let detail = "pod updates may not add or remove containers";
            problems.forbidden(&format!("spec.{list}"), detail);
            return;
        }
    }
    check_deadline(pod, old, problems);
    check_added_tolerations(pod, old, problems);
    if fixed_part(pod, old) != fixed_part(old, old) {
        problems.forbidden("spec", CHANGEABLE);
    }
}

fn check_deadline(pod: &Value, old: &Value, problems: &mut Problems) {
    let (new, old) = (&pod["spec"]["activeDeadlineSeconds"], &old["spec"]["activeDeadlineSeconds"]);
    if let Some(before) = old.as_i64()
        && new.as_i64().is_none_or(|after| after > before)
    {
        let detail = match new.as_i64() {
            Some(_) => "must be less than or equal to previous value",
            None => "must not update from a positive integer to nil value",
        };
        problems.invalid("spec.activeDeadlineSeconds", new, detail);
    }
}

fn check_added_tolerations(pod: &Value, old: &Value, problems: &mut Problems) {
    let new = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for one in old["spec"]["tolerations"].as_array().into_iter().flatten() {
        let kept = new.iter().any(|other| same_toleration(one, other));
        if !kept {
            let detail = "existing toleration can not be modified except its tolerationSeconds";
            problems.forbidden("spec.tolerations", detail);
            return;
        }
    }
}

fn same_toleration(one: &Value, other: &Value) -> bool {
    ["key", "operator", "value", "effect"]
        .iter()
        .all(|field| text(one, field) == text(other, field))
}

/// The spec with everything that may change taken from the old pod or left out.
fn fixed_part(pod: &Value, old: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    let Some(map) = spec.as_object_mut() else { return spec };
    for field in ["activeDeadlineSeconds", "tolerations"] {
        map.remove(field);
    }
    let before = old["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(0);
    if before < 0 {
        map.remove("terminationGracePeriodSeconds");
    }
    // A pod that waits behind gates may still be steered.
    if old["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        for field in ["schedulingGates", "nodeSelector", "affinity"] {
            map.remove(field);
        }
    }
    for list in ["containers", "initContainers"] {
        for container in map.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                container.remove("image");
            }
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::rules::tests::{defaulted, kind};
    use crate::rules::validate;
    use crate::rules::validation::{Problems, pod::check_ephemeral_update};

    fn pod(spec: Value) -> Value {
        defaulted("Pod", json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec}))
    }

    fn problems(spec: Value) -> Vec<String> {
        let causes = validate(&kind("Pod"), &pod(spec), None);
        causes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ephemeral_containers_stay() {
        let pod = |list: Value| json!({"spec": {"ephemeralContainers": list}});
        let old = pod(json!([{"name": "a", "image": "i"}]));
        for (new, count) in [
            (json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]), 0),
            (json!([{"name": "a", "image": "j"}]), 1),
            (json!([{"name": "b", "image": "i"}]), 1),
            (Value::Null, 1),
        ] {
            let mut problems = Problems::default();
            check_ephemeral_update(&pod(new), &old, &mut problems);
            assert_eq!(problems.into_causes().len(), count);
        }
    }

    #[test]
    fn specs_are_checked() {
        assert_eq!(
            problems(json!({"containers": [{"name": "a", "image": "i"}]})),
            Vec::<String>::new()
        );
        for (spec, expected) in [
            (json!({}), "spec.containers: Required value"),
            (json!({"containers": [{"name": "a"}]}), "spec.containers[0].image: Required value"),
            (json!({"containers": [{"image": "a"}]}), "spec.containers[0].name: Required value"),
            (
                json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}),
                "spec.containers[1].name: Duplicate value: \"a\"",
            ),
            (
                json!({"restartPolicy": "x", "containers": [{"name": "a", "image": "i"}]}),
                "spec.restartPolicy: Unsupported value: \"x\": supported values: \"Always\", \"Never\", \"OnFailure\"",
            ),
            (
                json!({"containers": [{"name": "a", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/x"}]}]}),
                "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            ),
            (
                json!({"containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 70000}]}]}),
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                json!({"containers": [{"name": "a", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}),
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ),
            (
                json!({"containers": [{"name": "a", "image": "i", "livenessProbe": {"periodSeconds": 1}}]}),
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ),
            (
                json!({"containers": [{"name": "a", "image": "i", "env": [{"name": "x", "valueFrom": {}}]}]}),
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of",
            ),
        ] {
            let found = problems(spec);
            assert!(found.iter().any(|one| one.starts_with(expected)), "{expected}: {found:?}");
        }
    }

    #[test]
    fn running_pods_are_fixed() {
        let old = pod(json!({"containers": [{"name": "a", "image": "i:1"}]}));
        let change = |edit: fn(&mut Value)| {
            let mut new = old.clone();
            edit(&mut new);
            validate(&kind("Pod"), &new, Some(&old))
        };
        assert_eq!(change(|pod| pod["spec"]["containers"][0]["image"] = json!("i:2")), []);
        assert_eq!(change(|pod| pod["spec"]["tolerations"] = json!([{"operator": "Exists"}])), []);
        let refused = change(|pod| pod["spec"]["nodeName"] = json!("n"));
        assert_eq!(refused[0].field, "spec");
        assert!(refused[0].message.starts_with("Forbidden: pod updates may not change fields"));
    }
}
