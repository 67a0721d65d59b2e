//! How many pods to create, which to delete, and the status (upstream `replica_set.go`, `controller_utils.go`).

use std::{cmp::Ordering, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
};
use kube::ResourceExt;

use crate::{
    driver::Again,
    pods::{availability, is_active, is_ready, phase},
    podset::{Failure, from_template},
};

/// Pods created or deleted in one go.
const BURST_MAX: usize = 500;
/// The condition of a set that cannot have its pods.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub create: usize,
    /// Names.
    pub delete: Vec<String>,
    /// As the pods are now.
    pub status: ReplicaSetStatus,
    pub again: Again,
}

/// Plans from the set and its own pods.
pub(super) fn plan(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let mut active: Vec<&Arc<Pod>> = pods.iter().filter(|pod| is_active(pod)).collect();
    let wanted = wanted(set);
    let (create, delete) = if set.metadata.deletion_timestamp.is_some() {
        (0, Vec::new())
    } else if active.len() < wanted {
        ((wanted - active.len()).min(BURST_MAX), Vec::new())
    } else {
        let surplus = (active.len() - wanted).min(BURST_MAX);
        active.sort_by(|a, b| deletion_order(a, b));
        (0, active.iter().take(surplus).map(|pod| pod.name_any()).collect())
    };
    let (status, again) = status(set, &active, now);
    Plan { create, delete, status, again }
}

fn wanted(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

/// Least useful first: unassigned, pending, not ready, then youngest.
fn deletion_order(a: &Pod, b: &Pod) -> Ordering {
    let rank = |pod: &Pod| {
        let assigned = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let progress = match phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        (assigned, progress, is_ready(pod))
    };
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    rank(a)
        .cmp(&rank(b))
        .then_with(|| created(b).cmp(&created(a)))
        .then_with(|| a.name_any().cmp(&b.name_any()))
}

fn status(set: &ReplicaSet, active: &[&Arc<Pod>], now: Timestamp) -> (ReplicaSetStatus, Again) {
    let spec = set.spec.clone().unwrap_or_default();
    let template_labels =
        spec.template.and_then(|template| template.metadata).and_then(|meta| meta.labels);
    let template_labels = template_labels.unwrap_or_default();
    let labeled = active.iter().filter(|pod| {
        template_labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
    });
    let mut again: Again = None;
    let mut available = 0;
    for pod in active {
        match availability(pod, spec.min_ready_seconds.unwrap_or(0), now) {
            Ok(is_available) => available += i32::from(is_available),
            Err(left) => again = Some(again.map_or(left, |sooner| sooner.min(left))),
        }
    }
    let ready = active.iter().filter(|pod| is_ready(pod)).count();
    let status = ReplicaSetStatus {
        replicas: number(active.len()),
        fully_labeled_replicas: Some(number(labeled.count())),
        ready_replicas: Some(number(ready)),
        available_replicas: Some(available),
        observed_generation: set.metadata.generation,
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
        ..ReplicaSetStatus::default()
    };
    (status, again)
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Says in the status that pods could not be created or deleted, or no longer says so.
pub(super) fn with_failure(
    mut status: ReplicaSetStatus,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let mut conditions = status.conditions.take().unwrap_or_default();
    let known = conditions.iter().any(|condition| condition.type_ == REPLICA_FAILURE);
    match failure {
        Some(failure) if !known => conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.into(),
            status: "True".into(),
            reason: Some(failure.reason.into()),
            message: Some(failure.error.words()),
            last_transition_time: Some(Time(
                Timestamp::from_second(now.as_second()).unwrap_or(now),
            )),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
    }
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    status
}

/// A new pod of the set, whose kind may be the older one: the reference to it comes from there.
pub(super) fn pod_of(set: &ReplicaSet, owner: Option<OwnerReference>) -> Pod {
    let template = set.spec.clone().unwrap_or_default().template.unwrap_or_default();
    from_template(&template, set.namespace(), format!("{}-", set.name_any()), owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 2},
            "spec": {"replicas": replicas, "selector": {}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}},
        }))
        .expect("a set")
    }

    fn pod(name: &str, phase: &str, ready: bool) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        let value = json!({
            "metadata": {"name": name, "labels": {"a": "b"}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        });
        Arc::new(serde_json::from_value(value).expect("a pod"))
    }

    #[test]
    fn counts_decide() {
        let now = Timestamp::UNIX_EPOCH;
        let pods =
            [pod("a", "Running", true), pod("b", "Pending", false), pod("c", "Failed", false)];
        assert_eq!(plan(&set(4), &pods, now).create, 2, "a failed pod does not count");
        assert_eq!(plan(&set(1), &pods, now).delete, ["b"], "the pending one goes first");
        let status = plan(&set(2), &pods, now).status;
        assert_eq!(
            (status.replicas, status.ready_replicas, status.available_replicas),
            (2, Some(1), Some(1))
        );
        assert_eq!(status.observed_generation, Some(2));
    }

    #[test]
    fn a_failure_is_said_once_and_taken_back() {
        let now = Timestamp::UNIX_EPOCH;
        let failure = Failure { reason: "FailedCreate", error: crate::Error::NotSeen };
        let status = with_failure(ReplicaSetStatus::default(), Some(&failure), now);
        let said = status.conditions.clone().expect("a condition");
        assert_eq!((said.len(), said[0].reason.as_deref()), (1, Some("FailedCreate")));
        let later = Timestamp::from_second(9).expect("a time");
        assert_eq!(with_failure(status.clone(), Some(&failure), later), status);
        let well = with_failure(status, None, later);
        assert_eq!(well.conditions, None);
    }

    #[test]
    fn pods_carry_the_template_and_their_owner() {
        let set = set(1);
        let pod = pod_of(&set, kube::Resource::controller_owner_ref(&set, &()));
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-"));
        assert_eq!(pod.labels().get("a").map(String::as_str), Some("b"));
        assert_eq!(pod.owner_references()[0].controller, Some(true));
    }
}
