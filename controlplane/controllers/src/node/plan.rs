//! What a node's lease says about it (upstream `nodelifecycle/node_lifecycle_controller.go`).

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Pod, Taint},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

/// A node whose lease is older than this is lost (upstream's `--node-monitor-grace-period`).
const GRACE: SignedDuration = SignedDuration::from_secs(50);
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that become Unknown together.
const CONDITIONS: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Whether a node reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Ready,
    /// It reports that it is not ready.
    NotReady,
    /// It does not report.
    Lost,
}

/// When nodes were last heard of, by this controller's own clock: a node's clock is never compared with ours, and a controller that
/// was away does not take its own silence for theirs.
#[derive(Debug, Default)]
pub(super) struct Sightings(HashMap<String, Sighting>);

#[derive(Debug)]
struct Sighting {
    report: Option<Timestamp>,
    seen: Timestamp,
}

impl Sightings {
    /// Takes note of a node's newest report; returns when it was first seen here.
    pub(super) fn note(
        &mut self,
        name: &str,
        report: Option<Timestamp>,
        now: Timestamp,
    ) -> Timestamp {
        let known = self.0.entry(name.to_owned()).or_insert(Sighting { report, seen: now });
        if known.report != report {
            *known = Sighting { report, seen: now };
        }
        known.seen
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// The time that the node put into its newest report, if it ever reported.
pub(super) fn newest_report(node: &Node, lease: Option<&Lease>) -> Option<Timestamp> {
    let renewed =
        lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref()).map(|time| time.0);
    let heartbeat =
        ready(node).and_then(|ready| ready.last_heartbeat_time.as_ref()).map(|time| time.0);
    renewed.max(heartbeat)
}

/// The node's health, and when it will be lost without another report.
pub(super) fn health(node: &Node, seen: Timestamp, now: Timestamp) -> (Health, Option<Duration>) {
    let left = GRACE - now.duration_since(seen);
    let Ok(left) = Duration::try_from(left) else { return (Health::Lost, None) };
    if left.is_zero() {
        return (Health::Lost, None);
    }
    let is_ready = ready(node).is_some_and(|condition| condition.status == "True");
    (if is_ready { Health::Ready } else { Health::NotReady }, Some(left))
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready")
}

/// Conditions of a lost node, where they must change.
pub(super) fn lost_conditions(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let known =
        node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut changed = Vec::new();
    for kind in CONDITIONS {
        let old = known.iter().find(|condition| condition.type_ == *kind);
        if old.is_some_and(|old| old.status == "Unknown") {
            continue;
        }
        let (reason, message) = match old {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        changed.push(NodeCondition {
            type_: (*kind).into(),
            status: "Unknown".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: old.and_then(|old| old.last_heartbeat_time.clone()),
            last_transition_time: Some(Time(
                Timestamp::from_second(now.as_second()).unwrap_or(now),
            )),
        });
    }
    (!changed.is_empty()).then_some(changed)
}

/// The node's taints as they should be, where they must change.
pub(super) fn taints(node: &Node, health: Health, now: Timestamp) -> Option<Vec<Taint>> {
    let spec = node.spec.clone().unwrap_or_default();
    let present = spec.taints.unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = match health {
        Health::Ready => Vec::new(),
        Health::NotReady => vec![(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
        Health::Lost => vec![(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
    };
    if spec.unschedulable == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let own = |taint: &Taint| {
        matches!(taint.key.as_str(), NOT_READY | UNREACHABLE)
            || taint.key == UNSCHEDULABLE && taint.effect == "NoSchedule"
    };
    let stamp = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let foreign = present.iter().filter(|taint| !own(taint)).cloned().map(|mut taint| {
        // The seconds of a toleration count from here.
        if taint.effect == "NoExecute" && taint.time_added.is_none() {
            taint.time_added = Some(stamp.clone());
        }
        taint
    });
    let mut taints: Vec<Taint> = foreign.collect();
    for (key, effect) in wanted {
        let old = present.iter().find(|taint| taint.key == key && taint.effect == effect);
        let fresh = || Taint {
            key: key.into(),
            effect: effect.into(),
            time_added: Some(stamp.clone()),
            value: None,
        };
        taints.push(old.cloned().unwrap_or_else(fresh));
    }
    let same = taints.len() == present.len() && taints.iter().all(|taint| present.contains(taint));
    (!same).then_some(taints)
}

/// What a NoExecute taint does to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    Never,
    Now,
    In(Duration),
}

/// When the node's NoExecute taints end a pod.
pub(super) fn eviction(pod: &Pod, node: &Node, now: Timestamp) -> Eviction {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut soonest = Eviction::Never;
    for taint in taints.filter(|taint| taint.effect == "NoExecute") {
        match toleration_seconds(pod, taint) {
            None => return Eviction::Now,
            Some(None) => {}
            Some(Some(seconds)) => {
                let since = taint.time_added.as_ref().map_or(now, |time| time.0);
                let left = SignedDuration::from_secs(seconds) - now.duration_since(since);
                match Duration::try_from(left) {
                    Ok(left) if !left.is_zero() => {
                        soonest = match soonest {
                            Eviction::In(sooner) if sooner < left => Eviction::In(sooner),
                            Eviction::In(_) | Eviction::Never | Eviction::Now => Eviction::In(left),
                        };
                    }
                    _ => return Eviction::Now,
                }
            }
        }
    }
    soonest
}

/// `None`: not tolerated; `Some(None)`: for ever; `Some(Some(n))`: for n seconds.
fn toleration_seconds(pod: &Pod, taint: &Taint) -> Option<Option<i64>> {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let matching = tolerations.filter(|toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let value = toleration.value.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        (effect.is_empty() || effect == taint.effect)
            && (key == taint.key || key.is_empty() && exists)
            && (exists || value == taint.value.as_deref().unwrap_or_default())
    });
    let limits: Vec<Option<i64>> =
        matching.map(|toleration| toleration.toleration_seconds).collect();
    if limits.is_empty() {
        return None;
    }
    Some(limits.into_iter().flatten().min())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(ready: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .expect("a node")
    }

    fn lease(at: &str) -> Lease {
        serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": {"renewTime": at}}))
            .expect("a lease")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_last_sighting_decides() {
        let seen = at("2026-01-01T01:00:00Z");
        let cases = [
            ("True", "2026-01-01T01:00:10Z", Health::Ready),
            ("False", "2026-01-01T01:00:10Z", Health::NotReady),
            ("True", "2026-01-01T01:00:50Z", Health::Lost),
        ];
        for (ready, now, expected) in cases {
            assert_eq!(health(&node(ready), seen, at(now)).0, expected, "{ready} {now}");
        }
        assert_eq!(
            health(&node("True"), seen, at("2026-01-01T01:00:10Z")).1,
            Some(Duration::from_secs(40))
        );
    }

    #[test]
    fn a_report_counts_from_when_it_is_seen() {
        let mut sightings = Sightings::default();
        // Both the node's clock and a long absence of this controller may make a report look old.
        let old = newest_report(&node("True"), Some(&lease("2020-01-01T00:00:00.000000Z")));
        let (start, later) = (at("2026-01-01T01:00:00Z"), at("2026-01-01T01:00:30Z"));
        assert_eq!(sightings.note("n", old, start), start);
        assert_eq!(sightings.note("n", old, later), start);
        let new = newest_report(&node("True"), Some(&lease("2020-01-01T00:00:10.000000Z")));
        assert_eq!(sightings.note("n", new, later), later);
        sightings.forget("n");
        assert_eq!(sightings.note("n", new, start), start);
    }

    #[test]
    fn taints_follow_health_and_leave_foreign_ones() {
        let now = at("2026-01-01T01:00:00Z");
        let mut node = node("True");
        node.spec.get_or_insert_default().taints =
            serde_json::from_value(json!([{"key": "own", "effect": "NoSchedule"}]))
                .expect("taints");
        assert_eq!(taints(&node, Health::Ready, now), None);
        let lost = taints(&node, Health::Lost, now).expect("a change");
        assert_eq!(lost.len(), 3);
        node.spec.get_or_insert_default().taints = Some(lost);
        assert_eq!(taints(&node, Health::Lost, now), None, "nothing more to do");
        assert_eq!(taints(&node, Health::Ready, now).expect("a change").len(), 1);
        // Without a time nobody could tell when a toleration of it ends.
        node.spec.get_or_insert_default().taints =
            serde_json::from_value(json!([{"key": "own", "effect": "NoExecute"}])).expect("taints");
        let stamped = taints(&node, Health::Ready, now).expect("a change");
        assert_eq!(stamped[0].time_added, Some(Time(now)));
    }

    #[test]
    fn tolerations_delay_eviction() {
        let now = at("2026-01-01T01:01:00Z");
        let mut node = node("True");
        node.spec.get_or_insert_default().taints = serde_json::from_value(json!([
            {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "2026-01-01T01:00:00Z"}]))
        .expect("taints");
        let pod = |tolerations: serde_json::Value| -> Pod {
            serde_json::from_value(
                json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}}),
            )
            .expect("a pod")
        };
        let seconds = |n: i64| json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": n}]);
        assert_eq!(eviction(&pod(json!([])), &node, now), Eviction::Now);
        assert_eq!(
            eviction(&pod(seconds(300)), &node, now),
            Eviction::In(Duration::from_secs(240))
        );
        assert_eq!(eviction(&pod(seconds(30)), &node, now), Eviction::Now);
        assert_eq!(eviction(&pod(json!([{"operator": "Exists"}])), &node, now), Eviction::Never);
    }
}
