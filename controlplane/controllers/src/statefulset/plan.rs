//! Which pod of a stateful set comes or goes next, and the status (upstream `stateful_set_control.go`). Pure.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt;

use super::identity::{ordinal, revision};
use crate::{
    driver::Again,
    pods::{availability, is_finished, is_ready, phase},
};

/// The templates that pods are made from, by the names of their revisions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Revisions<'a> {
    pub current: &'a str,
    pub update: &'a str,
}

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Ordinals, and whether of the new template.
    pub create: Vec<(i32, bool)>,
    pub delete: Vec<String>,
    pub status: StatefulSetStatus,
    pub again: Again,
}

struct Planner<'a> {
    spec: StatefulSetSpec,
    revisions: Revisions<'a>,
    now: Timestamp,
    start: i32,
    /// One at a time, each after the one before it is well.
    ordered: bool,
    plan: Plan,
}

/// Plans from the set and its own pods.
pub(super) fn plan(
    set: &StatefulSet,
    revisions: Revisions<'_>,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> Plan {
    let spec = set.spec.clone().unwrap_or_default();
    let start = spec.ordinals.as_ref().and_then(|it| it.start).unwrap_or(0);
    let ordered = spec.pod_management_policy.as_deref() != Some("Parallel");
    let mut planner = Planner { spec, revisions, now, start, ordered, plan: Plan::default() };
    let mut replicas: BTreeMap<i32, &Pod> = BTreeMap::new();
    let mut condemned: BTreeMap<i32, &Pod> = BTreeMap::new();
    for pod in pods {
        let Some(ordinal) = ordinal(set, pod) else { continue };
        if planner.range().contains(&ordinal) {
            replicas.insert(ordinal, pod);
        } else {
            condemned.insert(ordinal, pod);
        }
    }
    planner.status(set, &replicas, &condemned);
    let first_unhealthy = replicas
        .iter()
        .chain(&condemned)
        .filter(|(_, pod)| !is_healthy(pod))
        .min_by_key(|(ordinal, _)| **ordinal)
        .map(|(_, pod)| pod.name_any());
    if planner.grow(&replicas) && planner.shrink(&condemned, first_unhealthy.as_deref()) {
        planner.roll(&replicas);
    }
    planner.plan
}

fn leaves(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_healthy(pod: &Pod) -> bool {
    phase(pod) == "Running" && is_ready(pod) && !leaves(pod)
}

impl Planner<'_> {
    fn range(&self) -> std::ops::Range<i32> {
        self.start..self.start + self.spec.replicas.unwrap_or(1)
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref().and_then(|it| it.type_.as_deref());
        strategy != Some("OnDelete")
    }

    /// The first ordinal that gets the new template.
    fn partition(&self) -> i32 {
        let rolling = self.spec.update_strategy.as_ref().and_then(|it| it.rolling_update.as_ref());
        self.start + rolling.and_then(|it| it.partition).unwrap_or(0)
    }

    fn is_available(&mut self, pod: &Pod) -> bool {
        match availability(pod, self.spec.min_ready_seconds.unwrap_or(0), self.now) {
            Ok(available) => available,
            Err(left) => {
                self.plan.again = Some(self.plan.again.map_or(left, |sooner| sooner.min(left)));
                false
            }
        }
    }

    /// Makes the pods that are missing, in order. `false`: one of them has to be waited for.
    fn grow(&mut self, replicas: &BTreeMap<i32, &Pod>) -> bool {
        for ordinal in self.range() {
            match replicas.get(&ordinal) {
                None => {
                    let new = !self.is_rolling() || ordinal >= self.partition();
                    self.plan.create.push((ordinal, new));
                }
                Some(pod) if is_finished(pod) && !leaves(pod) => {
                    self.plan.delete.push(pod.name_any())
                }
                Some(pod) if !self.ordered || is_healthy(pod) && self.is_available(pod) => continue,
                Some(_) => {}
            }
            if self.ordered {
                return false;
            }
        }
        true
    }

    /// Deletes the pods that are too many, the last one first. `false`: one of them has to be waited for.
    fn shrink(&mut self, condemned: &BTreeMap<i32, &Pod>, first_unhealthy: Option<&str>) -> bool {
        for pod in condemned.values().rev() {
            let waits = leaves(pod) || !is_healthy(pod) && first_unhealthy != Some(&pod.name_any());
            if !leaves(pod) && !(self.ordered && waits) {
                self.plan.delete.push(pod.name_any());
            }
            if self.ordered {
                return false;
            }
        }
        true
    }

    /// How many pods a rollout may make unavailable: shares are rounded down, but never to nothing.
    fn unavailable_max(&self) -> usize {
        let rolling = self.spec.update_strategy.as_ref().and_then(|it| it.rolling_update.as_ref());
        let replicas = usize::try_from(self.spec.replicas.unwrap_or(1)).unwrap_or(0);
        let max = match rolling.and_then(|it| it.max_unavailable.as_ref()) {
            None => 1,
            Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(0),
            Some(IntOrString::String(text)) => {
                let percent: usize = text.trim_end_matches('%').parse().unwrap_or(0);
                percent * replicas / 100
            }
        };
        max.max(1)
    }

    /// Replaces pods of an old template, the last one first.
    fn roll(&mut self, replicas: &BTreeMap<i32, &Pod>) {
        if !self.is_rolling() || !self.plan.delete.is_empty() {
            return;
        }
        match self.unavailable_max() {
            1 => self.roll_one(replicas),
            max => self.roll_several(replicas, max),
        }
    }

    /// As many as may be unavailable together; those that are not well anyhow cost nothing.
    fn roll_several(&mut self, replicas: &BTreeMap<i32, &Pod>, max: usize) {
        let partition = self.partition();
        let mut down = 0;
        for pod in replicas.values() {
            down += usize::from(!is_healthy(pod) || !self.is_available(pod));
        }
        let mut left = max.saturating_sub(down);
        for (_, pod) in replicas.range(partition..).rev() {
            if revision(pod) == self.revisions.update || leaves(pod) {
                continue;
            }
            if is_healthy(pod) && self.is_available(pod) {
                if left == 0 {
                    continue;
                }
                left -= 1;
            }
            self.plan.delete.push(pod.name_any());
        }
    }

    /// The last one, when all after it are well.
    fn roll_one(&mut self, replicas: &BTreeMap<i32, &Pod>) {
        let partition = self.partition();
        for (_, pod) in replicas.range(partition..).rev() {
            if revision(pod) != self.revisions.update {
                if !leaves(pod) {
                    self.plan.delete.push(pod.name_any());
                }
                return;
            }
            if !is_healthy(pod) || !self.is_available(pod) {
                return;
            }
        }
    }

    fn status(
        &mut self,
        set: &StatefulSet,
        replicas: &BTreeMap<i32, &Pod>,
        condemned: &BTreeMap<i32, &Pod>,
    ) {
        let pods: Vec<&Pod> = replicas.values().chain(condemned.values()).copied().collect();
        let count = |pods: &[&Pod], test: &dyn Fn(&Pod) -> bool| {
            i32::try_from(pods.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX)
        };
        let of = |name: &str| {
            let name = name.to_owned();
            count(&pods, &move |pod| revision(pod) == name && !leaves(pod))
        };
        let available: Vec<&Pod> =
            pods.iter().copied().filter(|pod| is_healthy(pod) && self.is_available(pod)).collect();
        let positive = |count: i32| Some(count).filter(|count| *count > 0);
        let total = count(&pods, &|_| true);
        let ready = count(&pods, &|pod| is_healthy(pod));
        let Revisions { current, update } = self.revisions;
        let updated = of(update);
        let wanted = self.spec.replicas.unwrap_or(1);
        // All are new and well: the new template is the current one.
        let done = self.is_rolling() && updated == wanted && total == wanted && ready == wanted;
        let current = if done { update } else { current };
        let before = set.status.clone().unwrap_or_default();
        self.plan.status = StatefulSetStatus {
            available_replicas: Some(i32::try_from(available.len()).unwrap_or(i32::MAX)),
            collision_count: before.collision_count.or(Some(0)),
            conditions: before.conditions,
            current_replicas: positive(of(current)),
            current_revision: Some(current.to_owned()),
            observed_generation: set.metadata.generation,
            ready_replicas: positive(ready),
            replicas: total,
            update_revision: Some(update.to_owned()),
            updated_replicas: positive(updated),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(spec: Value) -> StatefulSet {
        let mut spec = spec;
        spec["selector"] = json!({});
        spec["template"] = json!({"spec": {"containers": []}});
        serde_json::from_value(json!({"metadata": {"name": "s", "generation": 1}, "spec": spec}))
            .expect("a set")
    }

    fn pod(ordinal: i32, revision: &str, ready: bool) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        let value = json!({"metadata": {"name": format!("s-{ordinal}"), "labels": {"controller-revision-hash": revision}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
        Arc::new(serde_json::from_value(value).expect("a pod"))
    }

    fn of(spec: Value, pods: &[Arc<Pod>]) -> Plan {
        let revisions = Revisions { current: "old", update: "new" };
        plan(&set(spec), revisions, pods, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn one_after_the_other_or_all_at_once() {
        assert_eq!(of(json!({"replicas": 3}), &[]).create, [(0, true)]);
        assert_eq!(of(json!({"replicas": 3}), &[pod(0, "new", true)]).create, [(1, true)]);
        assert!(of(json!({"replicas": 3}), &[pod(0, "new", false)]).create.is_empty());
        let parallel = json!({"replicas": 3, "podManagementPolicy": "Parallel"});
        assert_eq!(of(parallel, &[pod(1, "new", false)]).create, [(0, true), (2, true)]);
        assert_eq!(of(json!({"replicas": 1, "ordinals": {"start": 5}}), &[]).create, [(5, true)]);
    }

    #[test]
    fn the_last_goes_first_and_only_when_all_are_well() {
        let three = |ready: bool| [pod(0, "new", ready), pod(1, "new", true), pod(2, "new", true)];
        assert_eq!(of(json!({"replicas": 1}), &three(true)).delete, ["s-2"]);
        assert_eq!(of(json!({"replicas": 1}), &three(false)).delete, Vec::<String>::new());
        assert_eq!(of(json!({"replicas": 0}), &[pod(0, "new", false)]).delete, ["s-0"]);
        let parallel = json!({"replicas": 0, "podManagementPolicy": "Parallel"});
        assert_eq!(of(parallel, &three(false)).delete.len(), 3);
    }

    #[test]
    fn several_may_be_replaced_together() {
        let rolling = |max: Value| {
            json!({"replicas": 4, "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max}}})
        };
        let old: Vec<Arc<Pod>> = (0..4).map(|ordinal| pod(ordinal, "old", true)).collect();
        assert_eq!(of(rolling(json!(2)), &old).delete, ["s-3", "s-2"]);
        assert_eq!(of(rolling(json!("60%")), &old).delete, ["s-3", "s-2"]);
        assert_eq!(of(rolling(json!("10%")), &old).delete, ["s-3"]);
        let mut going = old.clone();
        going[3] = pod(3, "new", false);
        assert_eq!(of(rolling(json!(2)), &going).delete, ["s-2"]);
        going[2] = pod(2, "new", false);
        assert_eq!(of(rolling(json!(2)), &going).delete, Vec::<String>::new());
        let mut broken = old.clone();
        broken[1] = pod(1, "old", false);
        assert_eq!(of(rolling(json!(2)), &broken).delete, ["s-3", "s-1"]);
    }

    #[test]
    fn a_partition_keeps_the_old_template() {
        let old: Vec<Arc<Pod>> = (0..3).map(|ordinal| pod(ordinal, "old", true)).collect();
        let rolling = |partition: i32| json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
        assert_eq!(of(rolling(0), &old).delete, ["s-2"]);
        assert_eq!(of(rolling(3), &old).delete, Vec::<String>::new());
        assert_eq!(
            of(json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}), &old).delete,
            Vec::<String>::new()
        );
        let canary = [old[0].clone(), old[1].clone(), pod(2, "new", true)];
        assert_eq!(of(rolling(2), &canary).delete, Vec::<String>::new());
        assert_eq!(of(rolling(2), &canary[1..]).create, [(0, false)]);
        let status = of(rolling(2), &canary).status;
        assert_eq!((status.current_replicas, status.updated_replicas), (Some(2), Some(1)));
        assert_eq!(status.current_revision.as_deref(), Some("old"));
        let new: Vec<Arc<Pod>> = (0..3).map(|ordinal| pod(ordinal, "new", true)).collect();
        let status = of(rolling(0), &new).status;
        assert_eq!(
            (status.current_revision.as_deref(), status.current_replicas),
            (Some("new"), Some(3))
        );
    }
}
