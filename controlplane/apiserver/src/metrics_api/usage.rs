//! From two looks at an agent's counters to rates and quantities. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Counters of something at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counted {
    /// Unix seconds.
    pub at: f64,
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
}

/// One look at an agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    pub node: Option<Counted>,
    /// By pod uid, then by container.
    pub pods: BTreeMap<String, BTreeMap<String, Counted>>,
}

fn counted(value: &Value) -> Option<Counted> {
    let at = value["cpu"]["time"].as_str()?.parse::<jiff::Timestamp>().ok()?;
    Some(Counted {
        at: at.as_nanosecond() as f64 / 1e9,
        cpu_nanos: value["cpu"]["usageCoreNanoSeconds"].as_u64()?,
        memory_bytes: value["memory"]["workingSetBytes"].as_u64()?,
    })
}

/// Reads a `/stats/summary`.
#[must_use]
pub fn look(summary: &Value) -> Look {
    let mut pods = BTreeMap::new();
    for pod in summary["pods"].as_array().into_iter().flatten() {
        let containers: BTreeMap<String, Counted> = pod["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some((one["name"].as_str()?.to_owned(), counted(one)?)))
            .collect();
        let uid = pod["podRef"]["uid"].as_str().unwrap_or_default().to_owned();
        pods.insert(uid, containers);
    }
    Look { node: counted(&summary["node"]), pods }
}

/// Cores used between two looks, in nanocores; a counter that went back was started anew.
fn nanocores(before: &Counted, after: &Counted) -> Option<u64> {
    let seconds = after.at - before.at;
    let used = after.cpu_nanos.checked_sub(before.cpu_nanos)?;
    (seconds > 0.0).then(|| (used as f64 / seconds) as u64)
}

fn usage(before: Option<&Counted>, after: &Counted) -> Option<Value> {
    let cpu = nanocores(before?, after)?;
    Some(json!({"cpu": format!("{cpu}n"), "memory": format!("{}Ki", after.memory_bytes / 1024)}))
}

fn framed(before: &Counted, after: &Counted) -> Value {
    let second = after.at as i64;
    let window = (after.at - before.at).max(0.001);
    json!({"timestamp": crate::clock::format_seconds(second), "window": format!("{window:.3}s")})
}

/// A node's metrics without metadata; `None` until there are two looks.
#[must_use]
pub fn node(before: &Look, after: &Look) -> Option<Value> {
    let (first, last) = (before.node.as_ref()?, after.node.as_ref()?);
    let mut metrics = framed(first, last);
    metrics["usage"] = usage(Some(first), last)?;
    Some(metrics)
}

/// A pod's metrics without metadata; containers that are new since the first look are left out.
#[must_use]
pub fn pod(uid: &str, before: &Look, after: &Look) -> Option<Value> {
    let (first, last) = (before.pods.get(uid)?, after.pods.get(uid)?);
    let mut metrics = None;
    let mut containers = Vec::new();
    for (name, after) in last {
        let Some(before) = first.get(name) else { continue };
        let Some(usage) = usage(Some(before), after) else { continue };
        metrics.get_or_insert_with(|| framed(before, after));
        containers.push(json!({"name": name, "usage": usage}));
    }
    let mut metrics = metrics?;
    metrics["containers"] = Value::Array(containers);
    Some(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(second: u32, cpu: u64) -> Value {
        let time = format!("2026-01-01T00:00:{second:02}Z");
        let one = |cpu: u64| json!({"cpu": {"time": time, "usageCoreNanoSeconds": cpu}, "memory": {"workingSetBytes": 3 << 20}});
        let mut container = one(cpu);
        container["name"] = json!("c");
        let mut node = one(cpu * 10);
        node["nodeName"] = json!("n");
        json!({"node": node, "pods": [{"podRef": {"uid": "u"}, "containers": [container]}]})
    }

    #[test]
    fn two_looks_make_a_rate() {
        let (before, after) = (look(&summary(0, 0)), look(&summary(10, 5_000_000_000)));
        let found = pod("u", &before, &after).unwrap();
        assert_eq!(
            found["containers"],
            json!([{"name": "c", "usage": {"cpu": "500000000n", "memory": "3072Ki"}}])
        );
        assert_eq!(
            (&found["window"], &found["timestamp"]),
            (&json!("10.000s"), &json!("2026-01-01T00:00:10Z"))
        );
        assert_eq!(node(&before, &after).unwrap()["usage"]["cpu"], "5000000000n");
        assert_eq!(pod("u", &after, &before), None, "a counter that went back");
        assert_eq!(pod("other", &before, &after), None);
    }
}
