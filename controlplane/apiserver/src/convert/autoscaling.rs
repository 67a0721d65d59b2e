//! HorizontalPodAutoscalers between autoscaling/v2, which is stored, and v1, which has one field for the CPU target and keeps
//! the rest in annotations. Upstream `pkg/apis/autoscaling/v1/conversion.go`. Pure.

use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Where a metric's parts are in v2, and what v1 calls them. `<>` stands for `target` in a specification and for `current` in
/// a status.
type Parts = &'static [(&'static str, &'static str)];

const RESOURCE: Parts = &[
    ("/name", "name"),
    ("/container", "container"),
    ("/<>/averageUtilization", "<>AverageUtilization"),
    ("/<>/averageValue", "<>AverageValue"),
];
const SOURCES: &[(&str, Parts)] = &[
    (
        "object",
        &[
            ("/describedObject", "target"),
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/<>/value", "<>Value"),
            ("/<>/averageValue", "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/<>/averageValue", "<>AverageValue"),
        ],
    ),
    ("resource", RESOURCE),
    ("containerResource", RESOURCE),
    (
        "external",
        &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "metricSelector"),
            ("/<>/value", "<>Value"),
            ("/<>/averageValue", "<>AverageValue"),
        ],
    ),
];

/// v2 to v1, but for `apiVersion`.
pub fn to_v1(object: &mut Value) {
    let metrics = take(object, "spec", "metrics");
    let current = take(object, "status", "currentMetrics");
    let (conditions, behavior) =
        (take(object, "status", "conditions"), take(object, "spec", "behavior"));
    let all = |list: &Option<Value>| list.as_ref().and_then(Value::as_array).cloned();
    let (metrics, current) = (all(&metrics).unwrap_or_default(), all(&current).unwrap_or_default());
    let (cpu, others): (Vec<Value>, Vec<Value>) =
        metrics.into_iter().partition(|metric| !cpu_share(metric, "target").is_null());
    let shares = [
        ("spec", "targetCPUUtilizationPercentage", cpu.first(), "target"),
        ("status", "currentCPUUtilizationPercentage", current.iter().find(is_cpu), "current"),
    ];
    for (part, field, metric, word) in shares {
        let share = metric.map_or(Value::Null, |metric| cpu_share(metric, word));
        if let (false, Some(fields)) = (share.is_null(), fields(object, part)) {
            fields.insert(field.to_owned(), share);
        }
    }
    let shown = |metrics: &[Value], word| -> Vec<Value> {
        metrics.iter().map(|metric| metric_to_v1(metric, word)).collect()
    };
    for (name, value) in [
        (METRICS, json!(shown(&others, "target"))),
        (CURRENT_METRICS, json!(shown(&current, "current"))),
        (CONDITIONS, conditions.unwrap_or_default()),
        (BEHAVIOR, behavior.unwrap_or_default()),
    ] {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            object["metadata"]["annotations"][name] = json!(value.to_string());
        }
    }
}

/// v1 to v2, but for `apiVersion`.
pub fn from_v1(object: &mut Value) {
    let mut metrics = list_from(object, METRICS, "target");
    if let Some(percent) = take(object, "spec", "targetCPUUtilizationPercentage") {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    let share = take(object, "status", "currentCPUUtilizationPercentage");
    let mut current = list_from(object, CURRENT_METRICS, "current");
    if let (true, Some(percent)) = (current.is_empty(), share) {
        let metric = json!({"name": "cpu", "current": {"averageUtilization": percent}});
        current.push(json!({"type": "Resource", "resource": metric}));
    }
    let parsed = [
        ("spec", "metrics", json!(metrics)),
        ("spec", "behavior", annotation(object, BEHAVIOR)),
        ("status", "currentMetrics", json!(current)),
        ("status", "conditions", annotation(object, CONDITIONS)),
    ];
    for (part, field, value) in parsed {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if let (false, Some(fields)) = (empty, fields(object, part)) {
            fields.insert(field.to_owned(), value);
        }
    }
    if let Some(annotations) = object["metadata"].get("annotations")
        && annotations.as_object().is_some_and(Map::is_empty)
        && let Some(metadata) = object["metadata"].as_object_mut()
    {
        metadata.remove("annotations");
    }
}

fn fields<'a>(object: &'a mut Value, part: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(part).and_then(Value::as_object_mut)
}

fn take(object: &mut Value, part: &str, field: &str) -> Option<Value> {
    fields(object, part)?.remove(field)
}

fn is_cpu(metric: &&Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

/// The share of the requested CPU that a metric wants or has; null for others.
fn cpu_share(metric: &Value, word: &str) -> Value {
    if is_cpu(&metric) {
        metric["resource"][word]["averageUtilization"].clone()
    } else {
        Value::Null
    }
}

/// Takes an annotation out; null where it is missing or no JSON.
fn annotation(object: &mut Value, name: &str) -> Value {
    let annotations = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut);
    let text = annotations.and_then(|annotations| annotations.remove(name));
    let text = text.as_ref().and_then(Value::as_str).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn list_from(object: &mut Value, name: &str, word: &str) -> Vec<Value> {
    let list = annotation(object, name);
    list.as_array().into_iter().flatten().map(|metric| metric_from_v1(metric, word)).collect()
}

fn metric_to_v1(metric: &Value, word: &str) -> Value {
    let mut made = json!({"type": metric["type"]});
    for (source, parts) in SOURCES {
        let Some(from) = metric.get(source) else { continue };
        let found = parts.iter().filter_map(|(place, name)| {
            let value = from.pointer(&place.replace("<>", word))?;
            Some((name.replace("<>", word), value.clone()))
        });
        made[source] = Value::Object(found.collect());
    }
    made
}

fn metric_from_v1(metric: &Value, word: &str) -> Value {
    let mut made = json!({"type": metric["type"]});
    for (source, parts) in SOURCES {
        let Some(from) = metric.get(source) else { continue };
        for (place, name) in *parts {
            let Some(value) = from.get(name.replace("<>", word)) else { continue };
            let mut at = &mut made[source];
            for step in place.replace("<>", word).split('/').skip(1) {
                at = &mut at[step];
            }
            *at = value.clone();
        }
        let values = &made[source]["target"];
        if word == "target" && values.is_object() {
            let of = |field: &str| values.get(field).is_some();
            let kind = match (of("averageUtilization"), of("averageValue")) {
                (true, _) => "Utilization",
                (_, true) => "AverageValue",
                _ => "Value",
            };
            made[source]["target"]["type"] = json!(kind);
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_way_through_v1() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "behavior": {"scaleDown": {"selectPolicy": "Min"}},
            "metrics": [
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                {"type": "Pods", "pods": {"metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}},
                    "target": {"type": "AverageValue", "averageValue": "5"}}},
                {"type": "Object", "object": {"describedObject": {"kind": "Ingress", "name": "i"}, "metric": {"name": "rps"},
                    "target": {"type": "Value", "value": "2k"}}},
                {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "30"}}},
                {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                    "target": {"type": "Utilization", "averageUtilization": 60}}},
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]},
            "status": {"currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7, "averageValue": "9m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}]}});
        let mut shown = object.clone();
        to_v1(&mut shown);
        assert_eq!(shown["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}));
        assert_eq!(shown["status"], json!({"currentCPUUtilizationPercentage": 7}));
        let metrics: Value =
            serde_json::from_str(shown["metadata"]["annotations"][METRICS].as_str().unwrap())
                .unwrap();
        assert_eq!(
            metrics[0],
            json!({"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}})
        );
        assert_eq!(
            metrics[2]["object"],
            json!({"target": {"kind": "Ingress", "name": "i"}, "metricName": "rps", "targetValue": "2k"})
        );
        from_v1(&mut shown);
        assert_eq!(shown, object);
    }

    #[test]
    fn the_cpu_target_alone_needs_no_annotation() {
        let mut object =
            json!({"metadata": {"name": "a"}, "spec": {"targetCPUUtilizationPercentage": 50}});
        let v1 = object.clone();
        from_v1(&mut object);
        assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
        to_v1(&mut object);
        assert_eq!(object, v1);
    }
}
