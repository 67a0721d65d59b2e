//! A deployment's status and conditions (upstream `deployment/{sync,progress}.go`).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;

use super::plan::Bounds;
use crate::driver::Again;

/// Fields that are left out when they are 0.
pub(super) const OPTIONAL_COUNTS: [&str; 5] =
    ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"];

/// The status, and when to look again (a progress deadline).
pub(super) fn status(
    deployment: &Deployment,
    bounds: Bounds,
    current: Option<&ReplicaSet>,
    sets: &[&ReplicaSet],
    now: Timestamp,
) -> (DeploymentStatus, Again) {
    let counts = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
    let sum = |part: fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> i32| -> i32 {
        sets.iter().map(|set| part(&counts(set))).sum()
    };
    let replicas = sum(|status| status.replicas);
    let available = sum(|status| status.available_replicas.unwrap_or(0));
    let asked: i32 =
        sets.iter().map(|set| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)).sum();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(replicas),
        updated_replicas: some(current.map_or(0, |set| counts(set).replicas)),
        ready_replicas: some(sum(|status| status.ready_replicas.unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some((asked - available).max(0)),
        collision_count: deployment.status.as_ref().and_then(|status| status.collision_count),
        ..DeploymentStatus::default()
    };
    let known =
        deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let (progress, again) = progressing(deployment, bounds, current, &status, &known, now);
    let mut conditions = known;
    put(&mut conditions, availability(available, bounds), now);
    if let Some(progress) = progress {
        put(&mut conditions, progress, now);
    }
    status.conditions = Some(conditions);
    (status, again)
}

fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Type, status, reason and message of a condition.
struct Said {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

fn availability(available: i32, bounds: Bounds) -> Said {
    let holds = available >= bounds.wanted - bounds.unavailable;
    let (reason, words) = if holds {
        ("MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    Said { kind: "Available", holds, reason, message: words.into() }
}

fn progressing(
    deployment: &Deployment,
    bounds: Bounds,
    current: Option<&ReplicaSet>,
    status: &DeploymentStatus,
    known: &[DeploymentCondition],
    now: Timestamp,
) -> (Option<Said>, Again) {
    let said =
        |holds, reason, message| (Some(Said { kind: "Progressing", holds, reason, message }), None);
    let spec = deployment.spec.clone().unwrap_or_default();
    if spec.paused.unwrap_or(false) {
        let message = "Deployment is paused".into();
        return (
            Some(Said { kind: "Progressing", holds: true, reason: "DeploymentPaused", message }),
            None,
        );
    }
    let Some(set) = current else {
        let message = format!("Created new replica set for \"{}\"", deployment.name_any());
        return said(true, "NewReplicaSetCreated", message);
    };
    let name = set.name_any();
    let updated = status.updated_replicas.unwrap_or(0);
    let complete = updated == bounds.wanted
        && status.replicas.unwrap_or(0) == bounds.wanted
        && status.available_replicas.unwrap_or(0) == bounds.wanted;
    if complete {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        return said(true, "NewReplicaSetAvailable", message);
    }
    let before = deployment.status.clone().unwrap_or_default();
    let moved = updated > before.updated_replicas.unwrap_or(0)
        || status.ready_replicas > before.ready_replicas
        || status.available_replicas > before.available_replicas
        || status.replicas < before.replicas;
    let last = known.iter().find(|condition| condition.type_ == "Progressing");
    let was_complete =
        last.is_some_and(|last| last.reason.as_deref() == Some("NewReplicaSetAvailable"));
    let message = format!("ReplicaSet \"{name}\" is progressing.");
    let (Some(last), false, false) = (last, moved, was_complete) else {
        let (updated, _) = said(true, "ReplicaSetUpdated", message);
        return (updated, deadline(spec.progress_deadline_seconds));
    };
    let since = last.last_update_time.as_ref().map_or(now, |time| time.0);
    let limit = SignedDuration::from_secs(i64::from(spec.progress_deadline_seconds.unwrap_or(600)));
    let left = limit - now.duration_since(since);
    if last.reason.as_deref() == Some("ProgressDeadlineExceeded") || left <= SignedDuration::ZERO {
        let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
        return said(false, "ProgressDeadlineExceeded", message);
    }
    (None, Duration::try_from(left).ok())
}

fn deadline(seconds: Option<i32>) -> Again {
    Some(Duration::from_secs(u64::try_from(seconds.unwrap_or(600)).unwrap_or(600)))
}

/// Sets a condition; its transition time changes only with its status, its update time with what it says.
fn put(conditions: &mut Vec<DeploymentCondition>, said: Said, now: Timestamp) {
    let status = if said.holds { "True" } else { "False" };
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let known = conditions.iter().position(|condition| condition.type_ == said.kind);
    let old = known.map(|index| conditions[index].clone());
    let same_status = old.as_ref().is_some_and(|old| old.status == status);
    let same_words = old.as_ref().is_some_and(|old| {
        old.reason.as_deref() == Some(said.reason) && old.message.as_deref() == Some(&said.message)
    });
    // A rollout that moves on renews its deadline.
    let renewed = said.reason == "ReplicaSetUpdated";
    if same_status && same_words && !renewed {
        return;
    }
    let transition = old.filter(|_| same_status).and_then(|old| old.last_transition_time);
    let condition = DeploymentCondition {
        type_: said.kind.into(),
        status: status.into(),
        reason: Some(said.reason.into()),
        message: Some(said.message),
        last_update_time: Some(Time(now)),
        last_transition_time: transition.or(Some(Time(now))),
    };
    match known {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
}
