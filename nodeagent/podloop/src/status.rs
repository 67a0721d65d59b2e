//! What users see of a pod: `PodStatus` from the machine's state.
//!
//! Rules follow upstream `pkg/kubelet/kubelet_pods.go` (`getPhase`, `convertToAPIContainerStatuses`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::conditions::{Facts, conditions};
use crate::container::{ContainerState, Exit, ImageState, Run};
use crate::machine::{Machine, SHOW_FAILURE_SECONDS, Sandbox};
use crate::plan::{ContainerPlan, Role};
use crate::qos::qos_class;

/// The scheme of container ids in status.
pub const CONTAINER_ID_SCHEME: &str = "bulkhead://";

/// Computes the whole status. Conditions of others (readiness gates, `PodScheduled`) are taken from `pod`.
#[must_use]
pub fn pod_status(machine: &Machine, pod: &Pod, node_ip: &str, now: Timestamp) -> PodStatus {
    let state = &machine.state;
    let statuses: Vec<(Role, ContainerStatus)> = machine
        .plan
        .containers
        .iter()
        .enumerate()
        .map(|(index, plan)| (plan.role, container_status(machine, index, plan, now)))
        .collect();
    let phase = phase(machine);
    let of = |main: bool| -> Option<Vec<ContainerStatus>> {
        let chosen = statuses.iter().filter(|(role, _)| (*role == Role::Main) == main);
        Some(chosen.map(|(_, status)| status.clone()).collect::<Vec<_>>())
            .filter(|list| !list.is_empty())
    };
    let failure = state.ending.as_ref().and_then(|ending| ending.failure.as_ref());
    let address = state.address.clone();
    PodStatus {
        phase: Some(phase.to_owned()),
        reason: failure.map(|failure| failure.reason.clone()),
        message: failure.map(|failure| failure.message.clone()),
        conditions: Some(merged_conditions(machine, pod, phase, &statuses, now)),
        host_ip: Some(node_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: node_ip.to_owned() }]),
        pod_ip: address.clone(),
        pod_ips: address.map(|ip| vec![PodIP { ip }]),
        start_time: Some(Time(state.start_time)),
        qos_class: Some(qos_class(pod).to_owned()),
        init_container_statuses: of(false),
        container_statuses: of(true),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

fn merged_conditions(
    machine: &Machine,
    pod: &Pod,
    phase: &str,
    statuses: &[(Role, ContainerStatus)],
    now: Timestamp,
) -> Vec<PodCondition> {
    let old = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref());
    let facts = Facts {
        phase,
        statuses,
        initialized: machine.state.initialized,
        sandbox_ready: machine.state.sandbox == Sandbox::Running,
        gates: gates.unwrap_or_default(),
        generation: pod.metadata.generation,
    };
    conditions(&facts, old.unwrap_or_default(), now)
}

/// `Pending`, `Running`, `Succeeded` or `Failed`.
#[must_use]
pub fn phase(machine: &Machine) -> &'static str {
    let state = &machine.state;
    if state.ending.as_ref().is_some_and(|ending| ending.failure.is_some()) {
        return "Failed";
    }
    let containers = || machine.plan.containers.iter().zip(&state.containers);
    let gone = matches!(state.sandbox, Sandbox::Gone | Sandbox::Releasing | Sandbox::Released);
    let ended = |container: &ContainerState| matches!(container.run, Run::Done { .. });
    let succeeded =
        |container: &ContainerState| container.exit.as_ref().is_some_and(|exit| exit.code == 0);
    let mains = || containers().filter(|(plan, _)| plan.role == Role::Main).map(|(_, state)| state);
    let natural = state.ending.is_some() && !state.deleted;
    if (gone || natural) && state.ending.is_some() {
        let init_failed = containers().any(|(plan, container)| {
            plan.role == Role::Init && ended(container) && !container.completed
        });
        if init_failed || !mains().all(|container| ended(container) && succeeded(container)) {
            return if gone || mains().all(ended) || init_failed { "Failed" } else { "Running" };
        }
        return "Succeeded";
    }
    if !state.initialized && !mains().any(|container| container.exit.is_some()) {
        return "Pending";
    }
    let waits = |container: &ContainerState| {
        matches!(container.run, Run::Waiting | Run::Rejected { .. } | Run::Starting)
            && container.exit.is_none()
    };
    if mains().any(waits) { "Pending" } else { "Running" }
}

fn container_status(
    machine: &Machine,
    index: usize,
    plan: &ContainerPlan,
    now: Timestamp,
) -> ContainerStatus {
    let state = &machine.state.containers[index];
    let (api_state, shown_exit) = api_state(machine, index, plan, now);
    let last = if shown_exit { state.previous_exit.as_ref() } else { state.exit.as_ref() };
    let running = matches!(state.run, Run::Running { .. } | Run::Stopping(_));
    let started = matches!(state.run, Run::Running { post_start_in_flight: false, .. })
        && state.probes.is_started(plan);
    let ready = match plan.role {
        Role::Init => state.completed,
        Role::Sidecar | Role::Main => started && state.probes.is_ready(plan),
    };
    let image = match &state.image {
        ImageState::Ready(image) => Some(image),
        ImageState::Needed | ImageState::Pulling | ImageState::Failed { .. } => None,
    };
    let created = running || state.exit.is_some();
    ContainerStatus {
        name: plan.name.clone(),
        image: plan.image.clone(),
        image_id: image.filter(|_| created).map(|image| image.digest.clone()).unwrap_or_default(),
        container_id: created.then(|| container_id(&machine.plan.uid, plan, state.attempt())),
        ready,
        started: Some(started),
        restart_count: i32::try_from(state.attempt()).unwrap_or(i32::MAX),
        state: Some(api_state),
        last_state: Some(
            last.map_or_else(ApiState::default, |exit| terminated(&machine.plan.uid, plan, exit)),
        ),
        ..ContainerStatus::default()
    }
}

/// `bulkhead://<uid>/<container>.<attempt>`.
#[must_use]
pub fn container_id(uid: &str, plan: &ContainerPlan, attempt: u32) -> String {
    format!("{CONTAINER_ID_SCHEME}{uid}/{}", guest_id(&plan.name, attempt))
}

/// The container's id inside the guest.
#[must_use]
pub fn guest_id(name: &str, attempt: u32) -> String {
    format!("{name}.{attempt}")
}

/// The present state, and whether it shows the last exit itself.
fn api_state(
    machine: &Machine,
    index: usize,
    plan: &ContainerPlan,
    now: Timestamp,
) -> (ApiState, bool) {
    let state = &machine.state.containers[index];
    match &state.run {
        Run::Running { since, .. } => (running(*since), false),
        Run::Stopping(stopping) => (running(stopping.since), false),
        Run::Rejected { reason, message, .. } => (waiting(reason, Some(message.clone())), false),
        Run::Starting | Run::Waiting => (waiting_to_start(machine, state, plan, now), false),
        Run::Done { restart_at, .. } => {
            let Some(exit) = &state.exit else {
                return (waiting("ContainerCreating", None), false);
            };
            let coming_back =
                restart_at.is_some_and(|at| at > now) && machine.state.ending.is_none();
            if coming_back {
                (waiting_for_restart(machine, index, plan, exit, now), false)
            } else {
                (terminated(&machine.plan.uid, plan, exit), true)
            }
        }
    }
}

fn waiting_for_restart(
    machine: &Machine,
    index: usize,
    plan: &ContainerPlan,
    exit: &Exit,
    now: Timestamp,
) -> ApiState {
    if machine.shows_start_error(index, now) {
        return waiting("RunContainerError", Some(exit.message.clone()));
    }
    let message = format!(
        "back-off {} restarting failed container={} pod={}",
        machine.state.containers[index].restart_backoff.text(),
        plan.name,
        machine.plan.described()
    );
    waiting("CrashLoopBackOff", Some(message))
}

fn waiting_to_start(
    machine: &Machine,
    state: &ContainerState,
    plan: &ContainerPlan,
    now: Timestamp,
) -> ApiState {
    if let ImageState::Failed { failure, at, .. } = &state.image {
        let seconds = now.duration_since(*at).as_secs();
        if failure.reason != "ErrImagePull" || seconds < SHOW_FAILURE_SECONDS {
            return waiting(&failure.reason, Some(failure.message.clone()));
        }
        let message = format!(
            "Back-off pulling image \"{}\": {}: {}",
            plan.image, failure.reason, failure.message
        );
        return waiting("ImagePullBackOff", Some(message));
    }
    let has_inits = machine.plan.containers.iter().any(|plan| plan.role != Role::Main);
    let waits_for_init = has_inits && !machine.state.initialized;
    if waits_for_init && !matches!(machine.state.sandbox, Sandbox::Preparing | Sandbox::Launching)
        || waits_for_init && plan.role == Role::Main
    {
        return waiting("PodInitializing", None);
    }
    waiting("ContainerCreating", None)
}

fn waiting(reason: &str, message: Option<String>) -> ApiState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ApiState { waiting: Some(waiting), ..ApiState::default() }
}

fn running(since: Timestamp) -> ApiState {
    let running = ContainerStateRunning { started_at: Some(Time(since)) };
    ApiState { running: Some(running), ..ApiState::default() }
}

fn terminated(uid: &str, plan: &ContainerPlan, exit: &Exit) -> ApiState {
    let terminated = ContainerStateTerminated {
        container_id: Some(container_id(uid, plan, exit.attempt)),
        exit_code: exit.code,
        signal: (exit.signal != 0).then_some(exit.signal),
        reason: Some(exit.reason.clone()),
        message: Some(exit.message.clone()).filter(|message| !message.is_empty()),
        started_at: exit.started.map(Time),
        finished_at: Some(Time(exit.finished)),
    };
    ApiState { terminated: Some(terminated), ..ApiState::default() }
}
