//! What a pod asks for in all: upstream `component-helpers/resource/helpers.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity::{self, Quantity};

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts in a map of quantities; what is no quantity is left out.
#[must_use]
pub fn amounts(map: &Value) -> Amounts {
    map.as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), parse(value)?)))
        .collect()
}

/// A quantity written as text or as a number.
#[must_use]
pub fn parse(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => quantity::parse(text).ok(),
        Value::Number(number) => quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// Adds one set of amounts to another.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let total = sum.get(name).map_or(*amount, |present| *present + *amount);
        sum.insert(name.clone(), total);
    }
}

fn raise(highest: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if highest.get(name).is_none_or(|present| present < amount) {
            highest.insert(name.clone(), *amount);
        }
    }
}

/// Which half of a container's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Requests,
    Limits,
}

impl Part {
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

/// What a whole pod requests, or is limited to: the larger of what its containers need together and what its init
/// containers need while they run, side-cars included in both; pod-level amounts in place of the containers' where
/// given; plus the overhead when asked for.
#[must_use]
pub fn pod_total(pod: &Value, part: Part, overhead: bool) -> Amounts {
    let spec = &pod["spec"];
    let mut total = of_containers(spec, part);
    let whole = amounts(&spec["resources"][part.field()]);
    for (name, amount) in whole {
        if name == "cpu" || name == "memory" || name.starts_with("hugepages-") {
            total.insert(name, amount);
        }
    }
    if overhead {
        let extra = amounts(&spec["overhead"]);
        match part {
            Part::Requests => add(&mut total, &extra),
            // What has no limit gets none by its overhead.
            Part::Limits => {
                let limited = extra.into_iter().filter(|(name, _)| total.contains_key(name));
                let limited: Amounts = limited.collect();
                add(&mut total, &limited);
            }
        }
    }
    total
}

fn of_containers(spec: &Value, part: Part) -> Amounts {
    let mut total = Amounts::new();
    for container in list(spec, "containers") {
        add(&mut total, &amounts(&container["resources"][part.field()]));
    }
    let mut sidecars = Amounts::new();
    let mut starting = Amounts::new();
    for container in list(spec, "initContainers") {
        let own = amounts(&container["resources"][part.field()]);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut now = own;
            add(&mut now, &sidecars);
            raise(&mut starting, &now);
        }
    }
    raise(&mut total, &starting);
    total
}

fn list<'a>(spec: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    spec[field].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_needs_the_larger_of_its_phases() {
        let cpu = |amount: &str| json!({"resources": {"requests": {"cpu": amount}}});
        let mut side = cpu("1");
        side["restartPolicy"] = json!("Always");
        for (init, main, expect) in [
            (json!([]), json!([cpu("1"), cpu("500m")]), "1500m"),
            (json!([cpu("3")]), json!([cpu("1")]), "3"),
            (json!([side, cpu("3")]), json!([cpu("1")]), "4"),
            (json!([cpu("1"), side]), json!([cpu("1")]), "2"),
        ] {
            let pod = json!({"spec": {"initContainers": init, "containers": main}});
            let total = pod_total(&pod, Part::Requests, true);
            assert_eq!(total["cpu"].to_string(), expect, "{pod}");
        }
        let pod = json!({"spec": {"overhead": {"cpu": "250m"}, "resources": {"requests": {"cpu": "2"}},
            "containers": [cpu("1")]}});
        assert_eq!(pod_total(&pod, Part::Requests, true)["cpu"].to_string(), "2250m");
        assert_eq!(pod_total(&pod, Part::Requests, false)["cpu"].to_string(), "2");
    }
}
