//! LimitRanger: defaults and bounds for the resources of containers, pods and claims of a namespace.

use std::collections::BTreeMap;

use access::Lookup;
use api::{
    Status, meta,
    quantity::{self, Quantity},
};
use serde_json::Value;

use crate::{call::Call, errors};

/// Fills in defaults, then refuses what is out of bounds.
pub fn admit(call: &Call, object: &mut Value) -> Result<(), Status> {
    let namespace = meta::namespace(object).to_owned();
    let ranges = Lookup::list(&*call.app.cache, "", "limitranges", Some(&namespace));
    let limits = || ranges.iter().flat_map(|range| range["spec"]["limits"].as_array()).flatten();
    let is_pod = super::is_core(call, "pods");
    if is_pod {
        for limit in limits().filter(|limit| limit["type"] == "Container") {
            set_defaults(object, limit);
        }
    }
    let mut problems = Vec::new();
    for limit in limits() {
        match (limit["type"].as_str().unwrap_or_default(), is_pod) {
            ("Container", true) => {
                for container in containers(object) {
                    check(limit, &container["resources"], &mut problems);
                }
            }
            ("Pod", true) => check(limit, &pod_total(object), &mut problems),
            ("PersistentVolumeClaim", false) => {
                check(limit, &object["spec"]["resources"], &mut problems);
            }
            _ => {}
        }
    }
    match problems.as_slice() {
        [] => Ok(()),
        [one] => Err(errors::forbidden(&call.kind, meta::name(object), one)),
        many => {
            let why = format!("[{}]", many.join(", "));
            Err(errors::forbidden(&call.kind, meta::name(object), &why))
        }
    }
}

const LISTS: [&str; 2] = ["initContainers", "containers"];

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    LISTS.iter().flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten())
}

fn set_defaults(pod: &mut Value, limit: &Value) {
    for list in LISTS {
        let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            for (part, defaults) in [("limits", "default"), ("requests", "defaultRequest")] {
                for (name, amount) in limit[defaults].as_object().into_iter().flatten() {
                    if container["resources"][part].get(name).is_none() {
                        container["resources"][part][name] = amount.clone();
                    }
                }
            }
        }
    }
}

/// Sums of the containers' requests and limits, in the form of one container's resources.
fn pod_total(pod: &Value) -> Value {
    let mut total = serde_json::json!({});
    for part in ["requests", "limits"] {
        let mut sums: BTreeMap<String, Quantity> = BTreeMap::new();
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            for (name, amount) in container["resources"][part].as_object().into_iter().flatten() {
                let Some(amount) = parse(amount) else { continue };
                let sum = sums.get(name).map_or(amount, |sum| *sum + amount);
                sums.insert(name.clone(), sum);
            }
        }
        for (name, sum) in sums {
            total[part][name] = Value::from(sum.to_string());
        }
    }
    total
}

fn parse(value: &Value) -> Option<Quantity> {
    quantity::parse(value.as_str()?).ok()
}

/// Compares one set of resources with the bounds of a limit; texts are upstream's.
fn check(limit: &Value, resources: &Value, problems: &mut Vec<String>) {
    let kind = limit["type"].as_str().unwrap_or_default();
    for (name, bound) in limit["min"].as_object().into_iter().flatten() {
        let Some(minimum) = parse(bound) else { continue };
        let start = format!("minimum {name} usage per {kind} is {minimum}");
        match parse(&resources["requests"][name]) {
            None => problems.push(format!("{start}.  No request is specified")),
            Some(given) if given < minimum => {
                problems.push(format!("{start}, but request is {given}"));
            }
            Some(_) => {}
        }
    }
    for (name, bound) in limit["max"].as_object().into_iter().flatten() {
        let Some(maximum) = parse(bound) else { continue };
        let start = format!("maximum {name} usage per {kind} is {maximum}");
        // A claim has requests only.
        let part = if kind == "PersistentVolumeClaim" { "requests" } else { "limits" };
        match parse(&resources[part][name]) {
            None => problems.push(format!("{start}.  No limit is specified")),
            Some(given) if given > maximum => {
                let word = if part == "limits" { "limit" } else { "request" };
                problems.push(format!("{start}, but {word} is {given}"));
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_are_checked_in_upstreams_words() {
        let limit = json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"memory": "1Gi"}});
        for (resources, expect) in [
            (json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}), vec![]),
            (
                json!({"requests": {"cpu": "50m"}, "limits": {"memory": "2Gi"}}),
                vec![
                    "minimum cpu usage per Container is 100m, but request is 50m",
                    "maximum memory usage per Container is 1Gi, but limit is 2Gi",
                ],
            ),
            (
                json!({"limits": {"memory": "1"}}),
                vec!["minimum cpu usage per Container is 100m.  No request is specified"],
            ),
        ] {
            let mut problems = Vec::new();
            check(&limit, &resources, &mut problems);
            assert_eq!(problems, expect);
        }
    }

    #[test]
    fn defaults_fill_what_is_missing() {
        let mut pod =
            json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "2"}}}]}});
        set_defaults(
            &mut pod,
            &json!({"default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}),
        );
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(resources["limits"], json!({"cpu": "2", "memory": "1Gi"}));
        assert_eq!(resources["requests"], json!({"cpu": "100m"}));
    }
}
