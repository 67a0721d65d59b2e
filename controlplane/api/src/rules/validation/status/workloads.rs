//! Statuses of apps and of replication controllers: counts, and which may not exceed which.

use serde_json::{Value, json};

use super::check_counts;
use crate::rules::problems::Problems;

/// What upstream checks of a kind.
struct Counts {
    /// May not be below zero.
    all: &'static [&'static str],
    /// May not be above `replicas`.
    bounded: &'static [&'static str],
    /// How upstream calls the number of ready ones, where that bounds the available ones.
    ready: Option<&'static str>,
    /// May not go down.
    counts_collisions: bool,
}

const DEPLOYMENT: Counts = Counts {
    all: &[
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ],
    bounded: &["updatedReplicas", "readyReplicas", "availableReplicas"],
    ready: Some("readyReplicas"),
    counts_collisions: true,
};

const REPLICAS: Counts = Counts {
    all: &[
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ],
    bounded: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    ready: Some("readyReplicas"),
    counts_collisions: false,
};

const STATEFUL: Counts = Counts {
    all: &[
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ],
    bounded: &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
    ready: Some("status.readyReplicas"),
    counts_collisions: true,
};

const DAEMONS: Counts = Counts {
    all: &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ],
    bounded: &[],
    ready: None,
    counts_collisions: true,
};

pub(super) fn validate(kind: &str, status: &Value, before: &Value, problems: &mut Problems) {
    let counts = match kind {
        "Deployment" => &DEPLOYMENT,
        "ReplicaSet" | "ReplicationController" => &REPLICAS,
        "StatefulSet" => &STATEFUL,
        "DaemonSet" => &DAEMONS,
        _ => return,
    };
    check_counts(status, counts.all, problems);
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    for field in counts.bounded.iter().filter(|field| number(field) > number("replicas")) {
        let detail = "cannot be greater than status.replicas";
        problems.invalid(&format!("status.{field}"), &json!(number(field)), detail);
    }
    let (available, ready) = (number("availableReplicas"), number("readyReplicas"));
    if let Some(name) = counts.ready.filter(|_| available > ready) {
        let detail = format!("cannot be greater than {name}");
        problems.invalid("status.availableReplicas", &json!(available), &detail);
    }
    if counts.counts_collisions {
        check_collisions(&status["collisionCount"], &before["collisionCount"], problems);
    }
}

fn check_collisions(count: &Value, before: &Value, problems: &mut Problems) {
    let Some(before) = before.as_i64() else { return };
    let new = count.as_i64();
    if new.is_none_or(|new| new < before) {
        let shown = json!(new.unwrap_or(0));
        problems.invalid("status.collisionCount", &shown, "cannot be decremented");
    }
}
