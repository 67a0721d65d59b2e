//! ResourceQuota as data: what an object counts for, which quotas it concerns, what is still free. Pure; the API
//! server charges with it and the quota controller recounts with it. Upstream: `pkg/quota/v1`.

mod scope;
mod usage;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::resources::{Amounts, amounts};

pub use scope::matches_scopes;
pub use usage::{missing_compute, usage};

/// Resources of core that quotas count under their plain plural name.
const PLAIN: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// `count/<resource>` or `count/<resource>.<group>`.
#[must_use]
pub fn count_name(group: &str, resource: &str) -> String {
    if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") }
}

/// The hard limits of a quota: of its spec, which its status repeats.
#[must_use]
pub fn hard(quota: &Value) -> Amounts {
    amounts(&quota["spec"]["hard"])
}

/// The usage that a quota's status tells, or `None` where it does not cover every limit of the spec yet.
#[must_use]
pub fn known_used(quota: &Value) -> Option<Amounts> {
    let used = amounts(&quota["status"]["used"]);
    let covered = hard(quota).keys().all(|name| used.contains_key(name));
    covered.then_some(used)
}

/// The resources (group, plural) whose objects a quota's limits count.
#[must_use]
pub fn counted_resources(quota: &Value) -> BTreeSet<(String, String)> {
    hard(quota).keys().filter_map(|name| counted_by(name)).collect()
}

/// The resource that a limit of this name counts; `None` for names that count nothing.
fn counted_by(name: &str) -> Option<(String, String)> {
    let core = |resource: &str| Some((String::new(), resource.to_owned()));
    if let Some(counted) = name.strip_prefix("count/") {
        let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some((group.to_owned(), resource.to_owned()));
    }
    if PLAIN.contains(&name) {
        return core(name);
    }
    match name {
        "services.loadbalancers" | "services.nodeports" => core("services"),
        "requests.storage" => core("persistentvolumeclaims"),
        _ if name.contains(usage::STORAGE_CLASS) => core("persistentvolumeclaims"),
        _ if usage::is_pod_limit(name) => core("pods"),
        _ => None,
    }
}

/// Usage of all `objects` of one resource that a quota's scopes take in, by the quota's names.
#[must_use]
pub fn total<'a>(
    quota: &Value,
    (group, resource): (&str, &str),
    objects: impl IntoIterator<Item = &'a Value>,
    now: i64,
) -> Amounts {
    let hard = hard(quota);
    let mut sum = Amounts::new();
    for object in objects {
        if !matches_scopes(quota, (group, resource), object) {
            continue;
        }
        let mut own = usage(group, resource, object, now);
        own.retain(|name, _| hard.contains_key(name));
        crate::resources::add(&mut sum, &own);
    }
    sum
}

/// A status for the quota: its limits, and `used` with zeroes for what nothing uses.
#[must_use]
pub fn status(quota: &Value, used: &Amounts) -> Value {
    let hard = hard(quota);
    let mut status = json!({"hard": {}, "used": {}});
    for (name, limit) in &hard {
        status["hard"][name] = json!(limit.to_string());
        let used = used.get(name).map_or_else(|| "0".to_owned(), ToString::to_string);
        status["used"][name] = json!(used);
    }
    status
}

/// What a change of usage does to one quota.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing of it is counted.
    Unchanged,
    /// The new usage.
    Charged(Amounts),
    /// Why not, in upstream's words.
    Exceeded(String),
}

/// Adds `delta` to `used`. What does not grow is never refused, even above the limit.
#[must_use]
pub fn charge(quota: &Value, used: &Amounts, delta: &Amounts) -> Verdict {
    let hard = hard(quota);
    let delta: Amounts = delta
        .iter()
        .filter(|(name, amount)| hard.contains_key(*name) && !amount.is_zero())
        .map(|(name, amount)| (name.clone(), *amount))
        .collect();
    if delta.is_empty() {
        return Verdict::Unchanged;
    }
    let mut new = used.clone();
    crate::resources::add(&mut new, &delta);
    let over: Vec<&String> = delta
        .keys()
        .filter(|name| !delta[*name].is_negative() && new[*name] > hard[*name])
        .collect();
    if over.is_empty() {
        return Verdict::Charged(new);
    }
    let show = |amounts: &Amounts| -> String {
        let zero = || "0".to_owned();
        let one = |name: &&String| {
            format!("{name}={}", amounts.get(*name).map_or_else(zero, ToString::to_string))
        };
        over.iter().map(one).collect::<Vec<_>>().join(",")
    };
    Verdict::Exceeded(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        crate::meta::name(quota),
        show(&delta),
        show(used),
        show(&hard)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(hard: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})
    }

    #[test]
    fn usage_grows_up_to_the_limit() {
        let quota = quota(json!({"pods": "2", "requests.cpu": "1"}));
        let set = |value: Value| amounts(&value);
        for (used, delta, expect) in [
            (json!({"pods": "1"}), json!({"pods": "1"}), Ok(json!({"pods": "2"}))),
            (
                json!({"pods": "2"}),
                json!({"pods": "1"}),
                Err("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"),
            ),
            (
                json!({"pods": "2", "requests.cpu": "900m"}),
                json!({"pods": "1", "requests.cpu": "200m", "other": "9"}),
                Err(
                    "exceeded quota: q, requested: pods=1,requests.cpu=200m, used: pods=2,requests.cpu=900m, limited: pods=2,requests.cpu=1",
                ),
            ),
            // Already above: what shrinks may.
            (json!({"pods": "5"}), json!({"pods": "-1"}), Ok(json!({"pods": "4"}))),
        ] {
            match (charge(&quota, &set(used), &set(delta)), expect) {
                (Verdict::Charged(new), Ok(expect)) => assert_eq!(new, set(expect)),
                (Verdict::Exceeded(text), Err(expect)) => assert_eq!(text, expect),
                (got, expect) => panic!("{got:?}, not {expect:?}"),
            }
        }
        assert_eq!(charge(&quota, &Amounts::new(), &set(json!({"x": "1"}))), Verdict::Unchanged);
    }

    #[test]
    fn limits_name_what_they_count() {
        let quota = quota(json!({
            "count/deployments.apps": "1", "requests.nvidia.com/gpu": "1", "limits.cpu": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "1Gi", "services.nodeports": "1",
        }));
        let counted: Vec<String> =
            counted_resources(&quota).into_iter().map(|(g, r)| format!("{g}/{r}")).collect();
        assert_eq!(counted, ["/persistentvolumeclaims", "/pods", "/services", "apps/deployments"]);
        assert_eq!(status(&quota, &Amounts::new())["used"]["count/deployments.apps"], json!("0"));
    }
}
