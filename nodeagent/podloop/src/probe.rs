//! When probes run and what their results mean (`pkg/kubelet/prober/worker.go`).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::event::{ProbeKind, ProbeOutcome};
use crate::plan::{ContainerPlan, ProbePlan};

/// The three probes of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    pub startup: Worker,
    pub liveness: Worker,
    pub readiness: Worker,
}

/// One probe's progress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    next_at: Option<Timestamp>,
    #[serde(skip)]
    in_flight: bool,
    in_a_row: i32,
    last_was_success: bool,
    /// The verdict, once a threshold was reached.
    pub verdict: Option<bool>,
}

impl Probes {
    pub fn worker(&mut self, kind: ProbeKind) -> &mut Worker {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Liveness => &mut self.liveness,
            ProbeKind::Readiness => &mut self.readiness,
        }
    }

    /// The startup probe has succeeded, or there is none.
    #[must_use]
    pub fn is_started(&self, plan: &ContainerPlan) -> bool {
        plan.startup.is_none() || self.startup.verdict == Some(true)
    }

    /// The readiness probe says yes, or there is none.
    #[must_use]
    pub fn is_ready(&self, plan: &ContainerPlan) -> bool {
        self.is_started(plan) && (plan.readiness.is_none() || self.readiness.verdict == Some(true))
    }
}

/// The plan of a probe of this kind.
#[must_use]
pub fn plan_of(plan: &ContainerPlan, kind: ProbeKind) -> Option<&ProbePlan> {
    match kind {
        ProbeKind::Startup => plan.startup.as_ref(),
        ProbeKind::Liveness => plan.liveness.as_ref(),
        ProbeKind::Readiness => plan.readiness.as_ref(),
    }
}

/// The probes to run now, for a container that has run since `since`.
pub fn take_due(
    plan: &ContainerPlan,
    probes: &mut Probes,
    since: Timestamp,
    now: Timestamp,
) -> Vec<ProbeKind> {
    let mut due = Vec::new();
    for kind in ProbeKind::ALL {
        if next_time(plan, probes, kind, since).is_some_and(|at| at <= now) {
            let worker = probes.worker(kind);
            worker.in_flight = true;
            due.push(kind);
        }
    }
    due
}

/// The earliest time at which a probe is due.
#[must_use]
pub fn next_due(plan: &ContainerPlan, probes: &Probes, since: Timestamp) -> Option<Timestamp> {
    let mut probes = probes.clone();
    ProbeKind::ALL.into_iter().filter_map(|kind| next_time(plan, &mut probes, kind, since)).min()
}

fn next_time(
    plan: &ContainerPlan,
    probes: &mut Probes,
    kind: ProbeKind,
    since: Timestamp,
) -> Option<Timestamp> {
    let probe = plan_of(plan, kind)?;
    let started = probes.is_started(plan);
    let worker = probes.worker(kind);
    // The startup probe ends with its first success; the others begin there.
    if worker.in_flight || (kind == ProbeKind::Startup) == started {
        return None;
    }
    let first = since + SignedDuration::from_secs(probe.initial_delay_seconds);
    Some(worker.next_at.unwrap_or(first).max(first))
}

/// Takes a result in. Returns the new verdict when it was reached (also again and again, while it holds).
pub fn note_outcome(
    probe: &ProbePlan,
    worker: &mut Worker,
    outcome: &ProbeOutcome,
    now: Timestamp,
) -> Option<bool> {
    let success = *outcome == ProbeOutcome::Success;
    worker.in_flight = false;
    worker.next_at = Some(now + SignedDuration::from_secs(probe.period_seconds));
    worker.in_a_row = if success == worker.last_was_success { worker.in_a_row + 1 } else { 1 };
    worker.last_was_success = success;
    let threshold = if success { probe.success_threshold } else { probe.failure_threshold };
    if worker.in_a_row < threshold {
        return None;
    }
    worker.verdict = Some(success);
    Some(success)
}
