//! Which daemons to start and stop, and the status (upstream `pkg/controller/daemon/{daemon_controller,update}.go`). Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt;

use super::nodes::{Place, node_of, place, with_defaults};
use crate::{
    driver::Again,
    pods::{availability, is_ready, phase},
    revisions::HASH_LABEL,
};

/// A pod that failed is replaced this long after it was made, so that a node that refuses it is not asked all the time.
const RETRY: SignedDuration = SignedDuration::from_secs(5);

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub create: Vec<String>,
    /// Pods that go; those that failed are said to have.
    pub delete: Vec<String>,
    pub failed: Vec<String>,
    pub status: DaemonSetStatus,
    pub again: Again,
}

/// A node's pods of the set.
#[derive(Default)]
struct Own<'a> {
    new: Option<&'a Pod>,
    old: Option<&'a Pod>,
}

struct Planner<'a> {
    set: &'a DaemonSet,
    spec: DaemonSetSpec,
    hash: &'a str,
    now: Timestamp,
    plan: Plan,
}

/// Plans from the set, its own pods and all nodes. `hash` names the present template.
pub(super) fn plan(
    set: &DaemonSet,
    hash: &str,
    pods: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    now: Timestamp,
) -> Plan {
    let plan = Plan {
        create: vec![],
        delete: vec![],
        failed: vec![],
        status: DaemonSetStatus::default(),
        again: None,
    };
    let spec = set.spec.clone().unwrap_or_default();
    let mut planner = Planner { set, spec, hash, now, plan };
    let mut by_node: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        by_node.entry(node_of(pod).unwrap_or_default()).or_default().push(pod);
    }
    let mut template = planner.spec.template.spec.clone().unwrap_or_default();
    with_defaults(&mut template);
    let mut wanted: BTreeMap<String, Own<'_>> = BTreeMap::new();
    let mut misplaced = 0;
    for node in nodes {
        let name = node.name_any();
        let own = by_node.remove(name.as_str()).unwrap_or_default();
        match place(&template, node) {
            Place::Run => {
                let own = planner.settle(&own);
                wanted.insert(name, own);
            }
            Place::Keep => misplaced += i32::from(!own.is_empty()),
            Place::Never => {
                misplaced += i32::from(!own.is_empty());
                planner
                    .plan
                    .delete
                    .extend(own.iter().filter(|pod| !leaves(pod)).map(|pod| pod.name_any()));
            }
        }
    }
    // Pods of nodes that are gone.
    let homeless = by_node.into_values().flatten().filter(|pod| !leaves(pod));
    planner.plan.delete.extend(homeless.map(|pod| pod.name_any()));
    planner.status(&wanted, misplaced);
    planner.start_missing(&wanted);
    planner.update(&wanted);
    planner.plan
}

fn leaves(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

impl Planner<'_> {
    fn is_new(&self, pod: &Pod) -> bool {
        pod.labels().get(HASH_LABEL).is_some_and(|hash| hash == self.hash)
    }

    /// A node's pods without those that failed or are too many.
    fn settle<'a>(&mut self, pods: &[&'a Pod]) -> Own<'a> {
        let mut own = Own::default();
        let mut sorted = pods.to_vec();
        sorted.sort_by_key(|pod| {
            (leaves(pod), pod.creation_timestamp().map(|time| time.0), pod.name_any())
        });
        for pod in sorted {
            if phase(pod) == "Failed" && !leaves(pod) {
                self.replace_failed(pod);
            }
            let slot = if self.is_new(pod) { &mut own.new } else { &mut own.old };
            match slot {
                None => *slot = Some(pod),
                Some(_) if !leaves(pod) => self.plan.delete.push(pod.name_any()),
                Some(_) => {}
            }
        }
        own
    }

    fn replace_failed(&mut self, pod: &Pod) {
        let made = pod.creation_timestamp().map_or(self.now, |time| time.0);
        let left = Duration::try_from((made + RETRY).duration_since(self.now)).unwrap_or_default();
        if left.is_zero() {
            self.plan.failed.push(pod.name_any());
            self.plan.delete.push(pod.name_any());
        } else {
            self.look_again(left);
        }
    }

    fn look_again(&mut self, after: Duration) {
        self.plan.again = Some(self.plan.again.map_or(after, |sooner| sooner.min(after)));
    }

    fn start_missing(&mut self, wanted: &BTreeMap<String, Own<'_>>) {
        let missing = wanted.iter().filter(|(_, own)| own.new.is_none() && own.old.is_none());
        self.plan.create.extend(missing.map(|(name, _)| name.clone()));
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let seconds = self.spec.min_ready_seconds.unwrap_or(0);
        !leaves(pod) && availability(pod, seconds, self.now) == Ok(true)
    }

    /// Replaces old pods by new ones, as many at a time as the strategy allows.
    fn update(&mut self, wanted: &BTreeMap<String, Own<'_>>) {
        let strategy = self.spec.update_strategy.clone().unwrap_or_default();
        if strategy.type_.as_deref() == Some("OnDelete") {
            return;
        }
        let rolling = strategy.rolling_update.unwrap_or_default();
        let of = wanted.len();
        let surge = rolling.max_surge.as_ref().map_or(0, |value| resolve(value, of));
        if surge > 0 {
            return self.surge(wanted, surge);
        }
        let most = rolling.max_unavailable.as_ref().map_or(1, |value| resolve(value, of)).max(1);
        let (mut unavailable, mut at_once, mut candidates) = (0, vec![], vec![]);
        for own in wanted.values() {
            match (own.new, own.old) {
                (Some(new), None) if self.is_available(new) => {}
                (None, Some(old)) if self.is_available(old) => candidates.push(old.name_any()),
                (None, Some(old)) => {
                    unavailable += 1;
                    if !leaves(old) {
                        at_once.push(old.name_any());
                    }
                }
                (Some(_), Some(old)) => {
                    unavailable += 1;
                    if !leaves(old) {
                        at_once.push(old.name_any());
                    }
                }
                _ => unavailable += 1,
            }
        }
        candidates.truncate(most.saturating_sub(unavailable));
        // What does not work anyway costs nothing.
        for name in at_once.into_iter().chain(candidates) {
            if !self.plan.delete.contains(&name) {
                self.plan.delete.push(name);
            }
        }
    }

    /// The new pod starts beside the old one, which goes when the new one is available.
    fn surge(&mut self, wanted: &BTreeMap<String, Own<'_>>, most: usize) {
        let (mut surging, mut candidates) = (0, vec![]);
        for (node, own) in wanted {
            match (own.new, own.old) {
                (Some(new), Some(old)) if self.is_available(new) || !self.is_available(old) => {
                    if !leaves(old) {
                        self.plan.delete.push(old.name_any());
                    }
                }
                (Some(_), Some(_)) => surging += 1,
                (None, Some(old)) if self.is_available(old) => candidates.push(node.clone()),
                (None, Some(_)) => self.plan.create.push(node.clone()),
                _ => {}
            }
        }
        candidates.truncate(most.saturating_sub(surging));
        self.plan.create.extend(candidates);
    }

    fn status(&mut self, wanted: &BTreeMap<String, Own<'_>>, misplaced: i32) {
        let count = |test: &dyn Fn(&Own<'_>) -> bool| {
            i32::try_from(wanted.values().filter(|own| test(own)).count()).unwrap_or(i32::MAX)
        };
        let pods =
            |own: &Own<'_>| -> Vec<Pod> { own.new.into_iter().chain(own.old).cloned().collect() };
        let available = count(&|own| pods(own).iter().any(|pod| self.is_available(pod)));
        let desired = count(&|_| true);
        let positive = |count: i32| Some(count).filter(|count| *count > 0);
        let before = self.set.status.clone().unwrap_or_default();
        self.plan.status = DaemonSetStatus {
            collision_count: before.collision_count,
            conditions: before.conditions,
            current_number_scheduled: count(&|own| !pods(own).is_empty()),
            desired_number_scheduled: desired,
            number_available: positive(available),
            number_misscheduled: misplaced,
            number_ready: count(&|own| pods(own).iter().any(is_ready)),
            number_unavailable: positive(desired - available),
            observed_generation: self.set.metadata.generation,
            updated_number_scheduled: positive(count(&|own| own.new.is_some())),
        };
        let seconds = self.spec.min_ready_seconds.unwrap_or(0);
        let all = wanted.values().flat_map(|own| own.new.into_iter().chain(own.old));
        let soon = all.filter_map(|pod| availability(pod, seconds, self.now).err()).min();
        if let Some(soon) = soon {
            self.look_again(soon);
        }
    }
}

fn resolve(value: &IntOrString, of: usize) -> usize {
    match value {
        IntOrString::Int(number) => usize::try_from(*number).unwrap_or(0),
        IntOrString::String(text) => {
            let percent: usize = text.trim_end_matches('%').parse().unwrap_or(0);
            (percent * of).div_ceil(100)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(strategy: Value) -> DaemonSet {
        serde_json::from_value(json!({"metadata": {"name": "d", "generation": 2},
            "spec": {"selector": {}, "updateStrategy": strategy, "template": {"spec": {"containers": []}}}}))
        .expect("a set")
    }

    fn nodes(count: usize) -> Vec<Arc<Node>> {
        let one = |index| {
            serde_json::from_value(json!({"metadata": {"name": format!("n{index}")}}))
                .expect("a node")
        };
        (0..count).map(|index| Arc::new(one(index))).collect()
    }

    fn pod(name: &str, node: &str, hash: &str, phase: &str, ready: bool) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        let value = json!({"metadata": {"name": name, "labels": {"controller-revision-hash": hash}, "creationTimestamp": "1969-12-31T00:00:00Z"},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        Arc::new(serde_json::from_value(value).expect("a pod"))
    }

    fn of(set: &DaemonSet, pods: &[Arc<Pod>], count: usize) -> Plan {
        plan(set, "new", pods, &nodes(count), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn every_node_has_one() {
        let pods = [
            pod("a", "n0", "new", "Running", true),
            pod("b", "n0", "new", "Running", true),
            pod("c", "gone", "new", "Running", true),
            pod("d", "n1", "new", "Failed", false),
        ];
        let plan = of(&set(json!({})), &pods, 3);
        assert_eq!(
            (plan.create, plan.delete),
            (vec!["n2".to_owned()], vec!["b".to_owned(), "d".to_owned(), "c".to_owned()])
        );
        assert_eq!(plan.failed, ["d"]);
        let status = plan.status;
        assert_eq!(
            (status.desired_number_scheduled, status.current_number_scheduled, status.number_ready),
            (3, 2, 1)
        );
        assert_eq!((status.number_available, status.number_unavailable), (Some(1), Some(2)));
    }

    #[test]
    fn updates_go_node_by_node() {
        let old: Vec<Arc<Pod>> = (0..3)
            .map(|i| pod(&format!("o{i}"), &format!("n{i}"), "old", "Running", true))
            .collect();
        let rolling = |field: &str, value: Value| json!({"type": "RollingUpdate", "rollingUpdate": {field: value}});
        assert_eq!(of(&set(rolling("maxUnavailable", json!(1))), &old, 3).delete.len(), 1);
        assert_eq!(of(&set(rolling("maxUnavailable", json!("50%"))), &old, 3).delete.len(), 2);
        assert_eq!(of(&set(json!({"type": "OnDelete"})), &old, 3).delete.len(), 0);
        let surged = of(&set(rolling("maxSurge", json!(1))), &old, 3);
        assert_eq!((surged.create.len(), surged.delete.len()), (1, 0));
        // One that starts holds up the next; one that is broken is replaced at once.
        let mut mixed = old.clone();
        mixed[0] = pod("m0", "n0", "new", "Pending", false);
        assert_eq!(of(&set(json!({})), &mixed, 3).delete.len(), 0);
        mixed[1] = pod("o1", "n1", "old", "Running", false);
        assert_eq!(of(&set(json!({})), &mixed, 3).delete, ["o1"]);
        let mut both = old;
        both.push(pod("s0", "n0", "new", "Running", true));
        assert_eq!(of(&set(rolling("maxSurge", json!(1))), &both, 3).delete, ["o0"]);
    }
}
