//! HorizontalPodAutoscalers and PodDisruptionBudgets.

use serde_json::{Value, json};

use super::{check_segment, check_selector, is_positive, items, text};
use crate::rules::names;
use crate::rules::problems::Problems;

const PERIOD_SECONDS_MAX: i64 = 1800;
const STABILIZATION_SECONDS_MAX: i64 = 3600;
/// Types of metrics and the fields that tell them, in upstream's order of looking.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

pub(super) fn validate(kind: &str, new: &Value, problems: &mut Problems) {
    match kind {
        "HorizontalPodAutoscaler" => check_autoscaler(&new["spec"], problems),
        "PodDisruptionBudget" => check_budget(&new["spec"], problems),
        _ => {}
    }
}

fn check_autoscaler(spec: &Value, problems: &mut Problems) {
    let (least, most) = (&spec["minReplicas"], &spec["maxReplicas"]);
    if least.as_i64().is_some_and(|least| least < 1) {
        problems.invalid("spec.minReplicas", least, "must be greater than or equal to 1");
    }
    let replicas_max = most.as_i64().unwrap_or(0);
    if replicas_max < 1 {
        problems.invalid("spec.maxReplicas", &json!(replicas_max), "must be greater than 0");
    }
    if least.as_i64().is_some_and(|least| replicas_max < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        problems.invalid("spec.maxReplicas", &json!(replicas_max), detail);
    }
    check_segment(&spec["scaleTargetRef"], "kind", "spec.scaleTargetRef", problems);
    check_segment(&spec["scaleTargetRef"], "name", "spec.scaleTargetRef", problems);
    for (path, metric) in items(spec, "metrics", "spec") {
        check_metric(metric, &path, problems);
    }
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = spec["behavior"].get(direction) {
            check_rules(rules, &format!("spec.behavior.{direction}"), problems);
        }
    }
}

fn check_metric(metric: &Value, path: &str, problems: &mut Problems) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        problems.required(&format!("{path}.type"), "must specify a metric source type");
    }
    let expected = SOURCES.into_iter().find(|(name, _)| *name == kind).map(|(_, field)| field);
    let present: Vec<&str> = SOURCES
        .into_iter()
        .map(|(_, field)| field)
        .filter(|field| metric.get(*field).is_some())
        .collect();
    if let Some(field) = present.first() {
        check_source(field, &metric[*field], &format!("{path}.{field}"), problems);
    }
    match expected {
        None => {
            let kinds = SOURCES.map(|(name, _)| name);
            problems.not_supported(&format!("{path}.type"), &metric["type"], &kinds);
        }
        Some(field) if !present.contains(&field) => {
            let detail = "must populate information for the given metric source";
            problems.required(&format!("{path}.{field}"), detail);
        }
        Some(_) => {}
    }
    if present.len() > 1 {
        for other in present.into_iter().filter(|field| Some(*field) != expected) {
            let detail = "must populate the given metric source only";
            problems.forbidden(&format!("{path}.{other}"), detail);
        }
    }
}

fn check_source(field: &str, source: &Value, path: &str, problems: &mut Problems) {
    match field {
        "object" => {
            let described = format!("{path}.describedObject");
            check_segment(&source["describedObject"], "kind", &described, problems);
            check_segment(&source["describedObject"], "name", &described, problems);
        }
        "resource" | "containerResource" => check_resource(field, source, path, problems),
        _ => {}
    }
    if matches!(field, "object" | "external" | "pods") {
        let metric = format!("{path}.metric");
        match text(&source["metric"], "name") {
            "" => problems.required(&format!("{metric}.name"), "must specify a metric name"),
            name => {
                problems.check_text(&format!("{metric}.name"), name, names::path_segment(name));
            }
        }
    }
    let (target, at) = (&source["target"], format!("{path}.target"));
    check_target(target, &at, problems);
    check_target_of(field, target, &at, problems);
}

fn check_resource(field: &str, source: &Value, path: &str, problems: &mut Problems) {
    if text(source, "name").is_empty() {
        problems.required(&format!("{path}.name"), "must specify a resource name");
    }
    if field != "containerResource" {
        return;
    }
    let (path, container) = (format!("{path}.container"), text(source, "container"));
    if container.is_empty() {
        problems.required(&path, "must specify a container");
    } else {
        problems.check_text(&path, container, names::dns1123_label(container));
    }
}

fn check_target(target: &Value, path: &str, problems: &mut Problems) {
    let kind = text(target, "type");
    if kind.is_empty() {
        problems.required(&format!("{path}.type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        problems.invalid(&format!("{path}.type"), &target["type"], detail);
    }
    for field in ["value", "averageValue"] {
        if target.get(field).is_some_and(|amount| !is_positive(amount)) {
            problems.invalid(&format!("{path}.{field}"), &target[field], "must be positive");
        }
    }
    let percent = &target["averageUtilization"];
    if percent.as_i64().is_some_and(|percent| percent < 1) {
        problems.invalid(&format!("{path}.averageUtilization"), percent, "must be greater than 0");
    }
}

/// Which of the three amounts a target has depends on the metric's type.
fn check_target_of(field: &str, target: &Value, path: &str, problems: &mut Problems) {
    let has = |name: &str| target.get(name).is_some();
    let (value, average, percent) = (has("value"), has("averageValue"), has("averageUtilization"));
    match field {
        "object" if !value && !average => {
            let detail = "must set either a target value or averageValue";
            problems.required(&format!("{path}.averageValue"), detail);
        }
        "external" if !value && !average => {
            let detail = "must set either a target value for metric or a per-pod target";
            problems.required(&format!("{path}.averageValue"), detail);
        }
        "external" if value && average => {
            let detail = "may not set both a target value for metric and a per-pod target";
            problems.forbidden(&format!("{path}.value"), detail);
        }
        "pods" if !average => {
            let detail = "must specify a positive target averageValue";
            problems.required(&format!("{path}.averageValue"), detail);
        }
        "resource" | "containerResource" if !percent && !average => {
            let detail = "must set either a target raw value or a target utilization";
            problems.required(&format!("{path}.averageUtilization"), detail);
        }
        "resource" | "containerResource" if percent && average => {
            let detail = "may not set both a target raw value and a target utilization";
            problems.forbidden(&format!("{path}.averageValue"), detail);
        }
        _ => {}
    }
}

fn check_rules(rules: &Value, path: &str, problems: &mut Problems) {
    let window = &rules["stabilizationWindowSeconds"];
    let at = format!("{path}.stabilizationWindowSeconds");
    match window.as_i64() {
        Some(..=-1) => problems.invalid(&at, window, "must be greater than or equal to zero"),
        Some(seconds) if seconds > STABILIZATION_SECONDS_MAX => {
            let detail = format!("must be less than or equal to {STABILIZATION_SECONDS_MAX}");
            problems.invalid(&at, window, &detail);
        }
        _ => {}
    }
    let choices = ["Disabled", "Max", "Min"];
    problems.check_choice(&format!("{path}.selectPolicy"), &rules["selectPolicy"], &choices);
    if rules["policies"].as_array().is_none_or(Vec::is_empty) {
        problems.required(&format!("{path}.policies"), "must specify at least one Policy");
    }
    for (path, policy) in items(rules, "policies", path) {
        check_policy(policy, &path, problems);
    }
}

fn check_policy(policy: &Value, path: &str, problems: &mut Problems) {
    if !matches!(text(policy, "type"), "Pods" | "Percent") {
        problems.not_supported(&format!("{path}.type"), &policy["type"], &["Percent", "Pods"]);
    }
    for field in ["value", "periodSeconds"] {
        let number = policy[field].as_i64().unwrap_or(0);
        if number <= 0 {
            let at = format!("{path}.{field}");
            problems.invalid(&at, &json!(number), "must be greater than zero");
        }
    }
    let period = &policy["periodSeconds"];
    if period.as_i64().is_some_and(|seconds| seconds > PERIOD_SECONDS_MAX) {
        let detail = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
        problems.invalid(&format!("{path}.periodSeconds"), period, &detail);
    }
}

fn check_budget(spec: &Value, problems: &mut Problems) {
    if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
        problems.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let (path, amount) = (format!("spec.{field}"), &spec[field]);
        problems.check_not_negative(&path, amount);
        let Some(share) = amount.as_str() else { continue };
        match names::percentage(share) {
            Some(problem) => problems.invalid(&path, amount, &problem),
            None if is_above_whole(share) => {
                problems.invalid(&path, amount, "must not be greater than 100%");
            }
            None => {}
        }
    }
    check_selector(&spec["selector"], "spec.selector", problems);
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    let path = "spec.unhealthyPodEvictionPolicy";
    problems.check_choice(path, &spec["unhealthyPodEvictionPolicy"], &policies);
}

fn is_above_whole(share: &str) -> bool {
    share.trim_end_matches('%').parse::<u64>().is_ok_and(|percent| percent > 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{defaulted, problems};

    #[test]
    fn autoscalers_are_checked() {
        let scaler = |more: Value| {
            let mut spec = json!({"minReplicas": 1, "maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d"}});
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            let object = json!({"metadata": {"name": "h", "namespace": "d"}, "spec": spec});
            defaulted("HorizontalPodAutoscaler", object)
        };
        let cpu =
            json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}});
        let pods = json!({"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "0"}});
        for (more, expected) in [
            (json!({}), ""),
            (json!({"metrics": [{"type": "Resource", "resource": cpu}]}), ""),
            (json!({"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}), ""),
            (
                json!({"maxReplicas": 0}),
                "spec.maxReplicas: Invalid value: 0: must be greater than 0; \
                 spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
            ),
            (
                json!({"scaleTargetRef": {"kind": "Deployment"}}),
                "spec.scaleTargetRef.name: Required value",
            ),
            (
                json!({"metrics": [{"type": "Pods", "resource": cpu}]}),
                "spec.metrics[0].pods: Required value: must populate information for the given metric source",
            ),
            (
                json!({"metrics": [{"type": "Pods", "resource": cpu, "pods": pods}]}),
                "spec.metrics[0].pods.target.averageValue: Invalid value: \"0\": must be positive; \
                 spec.metrics[0].resource: Forbidden: must populate the given metric source only",
            ),
            (
                json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Often"}}}]}),
                "spec.metrics[0].resource.target.type: Invalid value: \"Often\": must be either Utilization, Value, or AverageValue; \
                 spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ),
            (
                json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 4000, "policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]}}}),
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600; \
                 spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero; \
                 spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ),
        ] {
            assert_eq!(problems("HorizontalPodAutoscaler", &scaler(more), None), expected);
        }
    }

    #[test]
    fn budgets_are_checked() {
        for (spec, expected) in [
            (json!({"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}), ""),
            (json!({"maxUnavailable": "100%"}), ""),
            (json!({}), ""),
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set",
            ),
            (
                json!({"minAvailable": -1}),
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                json!({"minAvailable": "101%"}),
                "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                json!({"maxUnavailable": "half"}),
                "spec.maxUnavailable: Invalid value: \"half\": a valid percent string must be a numeric string \
                 followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            ),
        ] {
            let object = json!({"metadata": {"name": "b", "namespace": "d"}, "spec": spec});
            let object = defaulted("PodDisruptionBudget", object);
            assert_eq!(problems("PodDisruptionBudget", &object, None), expected);
        }
    }
}
