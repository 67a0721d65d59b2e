//! The pod conditions that a node writes (`pkg/kubelet/status/generate.go`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodReadinessGate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::plan::Role;

/// What the conditions are decided by.
#[derive(Debug)]
pub struct Facts<'a> {
    pub phase: &'a str,
    pub statuses: &'a [(Role, ContainerStatus)],
    pub initialized: bool,
    pub sandbox_ready: bool,
    pub gates: &'a [PodReadinessGate],
    pub generation: Option<i64>,
}

struct Verdict {
    kind: &'static str,
    reason: Option<&'static str>,
    message: Option<String>,
    status: bool,
}

/// Our conditions in upstream's order, then those that others own. Transition times are kept where the
/// status did not change.
#[must_use]
pub fn conditions(facts: &Facts<'_>, old: &[PodCondition], now: Timestamp) -> Vec<PodCondition> {
    let containers_ready = containers_ready(facts);
    let ready = pod_ready(facts, old, &containers_ready);
    let verdicts = [
        plain("PodReadyToStartContainers", facts.sandbox_ready),
        initialized(facts),
        ready,
        containers_ready,
        plain("PodScheduled", true),
    ];
    let foreign = old
        .iter()
        .filter(|condition| verdicts.iter().all(|verdict| verdict.kind != condition.type_));
    verdicts
        .iter()
        .map(|verdict| to_condition(verdict, facts.generation, old, now))
        .chain(foreign.cloned())
        .collect()
}

fn plain(kind: &'static str, status: bool) -> Verdict {
    Verdict { kind, reason: None, message: None, status }
}

fn initialized(facts: &Facts<'_>) -> Verdict {
    if facts.phase == "Succeeded" {
        return Verdict { reason: Some("PodCompleted"), ..plain("Initialized", true) };
    }
    let has_inits = facts.statuses.iter().any(|(role, _)| *role != Role::Main);
    if facts.initialized || !has_inits {
        return plain("Initialized", true);
    }
    let unready = names(facts, |role, status| {
        role == Role::Init && !status.ready || role == Role::Sidecar && status.started != Some(true)
    });
    Verdict {
        reason: Some("ContainersNotInitialized"),
        message: Some(format!("containers with incomplete status: [{unready}]")),
        ..plain("Initialized", false)
    }
}

fn containers_ready(facts: &Facts<'_>) -> Verdict {
    let kind = "ContainersReady";
    match facts.phase {
        "Succeeded" => return Verdict { reason: Some("PodCompleted"), ..plain(kind, false) },
        "Failed" => return Verdict { reason: Some("PodFailed"), ..plain(kind, false) },
        _ => {}
    }
    let unready = names(facts, |role, status| role != Role::Init && !status.ready);
    if unready.is_empty() {
        return plain(kind, true);
    }
    let message = Some(format!("containers with unready status: [{unready}]"));
    Verdict { reason: Some("ContainersNotReady"), message, ..plain(kind, false) }
}

fn pod_ready(facts: &Facts<'_>, old: &[PodCondition], containers: &Verdict) -> Verdict {
    if !containers.status {
        return Verdict {
            kind: "Ready",
            reason: containers.reason,
            message: containers.message.clone(),
            status: false,
        };
    }
    let is_true = |gate: &&PodReadinessGate| {
        old.iter().any(|c| c.type_ == gate.condition_type && c.status == "True")
    };
    let missing: Vec<String> = facts
        .gates
        .iter()
        .filter(|gate| !is_true(gate))
        .map(|gate| {
            format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            )
        })
        .collect();
    if missing.is_empty() {
        return plain("Ready", true);
    }
    let message = Some(missing.join(", "));
    Verdict { reason: Some("ReadinessGatesNotReady"), message, ..plain("Ready", false) }
}

fn names(facts: &Facts<'_>, choose: impl Fn(Role, &ContainerStatus) -> bool) -> String {
    let chosen = facts.statuses.iter().filter(|(role, status)| choose(*role, status));
    chosen.map(|(_, status)| status.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn to_condition(
    verdict: &Verdict,
    generation: Option<i64>,
    old: &[PodCondition],
    now: Timestamp,
) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let before = old.iter().find(|c| c.type_ == verdict.kind && c.status == status);
    let since = before.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(now));
    PodCondition {
        type_: verdict.kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message.clone(),
        last_transition_time: Some(since),
        observed_generation: generation,
        ..PodCondition::default()
    }
}
