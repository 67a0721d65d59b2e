//! A budget's numbers (upstream `pkg/controller/disruption/disruption.go`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
};
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};

use crate::{driver::Again, pods::is_ready};

/// How long an evicted pod counts as disrupted before it must be seen going (upstream's `DeletionTimeout`).
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
const ALLOWED: &str = "DisruptionAllowed";

/// Whether a budget is about a pod. An empty selector is about all of the namespace, none about nothing.
pub(super) fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    budget.namespace() == pod.namespace()
        && selector
            .and_then(|selector| Selector::try_from(selector).ok())
            .is_some_and(|selector| selector.matches(pod.labels()))
}

/// Whether the budget is relative to what the workloads want.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.clone().unwrap_or_default();
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// How many of the pods have this owner.
pub(super) fn siblings(pods: &[Arc<Pod>], owner: &str) -> i32 {
    count(pods.iter().filter(|pod| pod.owner_references().iter().any(|it| it.uid == owner)))
}

/// The status from the budget's pods and, where it is relative, the number that is wanted.
pub(super) fn plan(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    wanted: Option<i32>,
    now: Timestamp,
) -> (PodDisruptionBudgetStatus, Again) {
    let spec = budget.spec.clone().unwrap_or_default();
    let before = budget.status.clone().unwrap_or_default();
    let expected = wanted.unwrap_or_else(|| count(pods.iter()));
    let desired = match (spec.max_unavailable, spec.min_available) {
        (Some(unavailable), _) => expected - resolve(&unavailable, expected),
        (None, Some(available)) => resolve(&available, expected),
        (None, None) => expected - 1,
    };
    let desired = desired.max(0);
    let (disrupted, again) = disrupted(&before, pods, now);
    let healthy = pods.iter().filter(|pod| {
        let going = pod.metadata.deletion_timestamp.is_some();
        !going && is_ready(pod) && !disrupted.contains_key(&pod.name_any())
    });
    let healthy = count(healthy);
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let status = PodDisruptionBudgetStatus {
        conditions: Some(conditions(budget, before.conditions.unwrap_or_default(), allowed, now)),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: budget.metadata.generation,
    };
    (status, again)
}

fn count<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> i32 {
    i32::try_from(pods.count()).unwrap_or(i32::MAX)
}

/// Percentages round up.
fn resolve(value: &IntOrString, of: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            i32::try_from((percent * i64::from(of) + 99) / 100).unwrap_or(i32::MAX)
        }
    }
}

/// Evicted pods that are not seen going yet, and when the first of them is no longer waited for.
fn disrupted(
    before: &PodDisruptionBudgetStatus,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Again) {
    let (mut kept, mut again): (_, Again) = (BTreeMap::new(), None);
    for (name, since) in before.disrupted_pods.iter().flatten() {
        let pod = pods.iter().find(|pod| pod.name_any() == *name);
        if pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()) {
            continue;
        }
        let left = Duration::try_from((since.0 + DELETION_TIMEOUT).duration_since(now))
            .unwrap_or_default();
        if left.is_zero() {
            continue;
        }
        kept.insert(name.clone(), since.clone());
        again = Some(again.map_or(left, |sooner: Duration| sooner.min(left)));
    }
    (kept, again)
}

fn conditions(
    budget: &PodDisruptionBudget,
    mut known: Vec<Condition>,
    allowed: i32,
    now: Timestamp,
) -> Vec<Condition> {
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let old = known.iter().find(|condition| condition.type_ == ALLOWED);
    let since = old.filter(|old| old.status == status).map_or_else(
        || Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
        |old| old.last_transition_time.clone(),
    );
    let condition = Condition {
        type_: ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        message: String::new(),
        observed_generation: budget.metadata.generation,
        last_transition_time: since,
    };
    known.retain(|condition| condition.type_ != ALLOWED);
    known.push(condition);
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn budget(spec: serde_json::Value, status: serde_json::Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": "b", "namespace": "n", "generation": 3},
            "spec": spec, "status": status}))
        .expect("a budget")
    }

    fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
        let one = |index: usize| {
            let ready = if index < ready { "True" } else { "False" };
            serde_json::from_value(json!({
                "metadata": {"name": format!("p{index}"), "namespace": "n", "labels": {"a": "b"}},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .expect("a pod")
        };
        (0..ready + unready).map(|index| Arc::new(one(index))).collect()
    }

    #[test]
    fn numbers_follow_the_pods() {
        let now = Timestamp::UNIX_EPOCH;
        for (spec, wanted, pods, expect) in [
            (json!({"minAvailable": 2}), None, pods(3, 0), (3, 3, 2, 1)),
            (json!({"minAvailable": 2}), None, pods(1, 2), (3, 1, 2, 0)),
            (json!({"minAvailable": "50%"}), Some(5), pods(4, 0), (5, 4, 3, 1)),
            (json!({"maxUnavailable": 1}), Some(3), pods(3, 0), (3, 3, 2, 1)),
            (json!({"maxUnavailable": "100%"}), Some(3), pods(1, 0), (3, 1, 0, 1)),
            (json!({"minAvailable": 0}), None, pods(0, 0), (0, 0, 0, 0)),
        ] {
            let (status, _) = plan(
                &budget(
                    spec.clone(),
                    json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}),
                ),
                &pods,
                wanted,
                now,
            );
            let (some, found) = (Option::unwrap_or_default, &status);
            let found = (
                some(found.expected_pods),
                some(found.current_healthy),
                some(found.desired_healthy),
                some(found.disruptions_allowed),
            );
            assert_eq!(found, expect, "{spec}");
            assert_eq!(status.observed_generation, Some(3));
        }
    }

    #[test]
    fn an_evicted_pod_counts_no_more_for_two_minutes() {
        let spent = json!({"disruptedPods": {"p0": "1970-01-01T00:00:00Z", "gone": "1970-01-01T00:00:00Z"},
            "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        let budget = budget(json!({"minAvailable": 1}), spent);
        let now = Timestamp::UNIX_EPOCH;
        let (status, again) = plan(&budget, &pods(3, 0), None, now);
        assert_eq!((status.current_healthy, status.disruptions_allowed), (Some(2), Some(1)));
        assert_eq!(status.disrupted_pods.map(|pods| pods.len()), Some(1));
        assert_eq!(again, Some(Duration::from_secs(120)));
        let (status, again) = plan(&budget, &pods(3, 0), None, now + DELETION_TIMEOUT);
        assert_eq!((status.current_healthy, again), (Some(3), None));
    }

    #[test]
    fn an_empty_selector_is_about_all() {
        let pod = &pods(1, 0)[0];
        for (spec, expect) in [
            (json!({"selector": {}}), true),
            (json!({}), false),
            (json!({"selector": {"matchLabels": {"a": "c"}}}), false),
        ] {
            assert_eq!(
                covers(&budget(spec.clone(), serde_json::Value::Null), pod),
                expect,
                "{spec}"
            );
        }
    }
}
