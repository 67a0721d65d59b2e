//! The life of one pod on a node, as a pure state machine.
//!
//! ```text
//!            images + network + volumes        guest called         configured
//! Preparing ──────────────────────────▶ Launching ─────▶ Configuring ─────▶ Running
//!   ▲  │                                   │                 │                │ │
//!   │  └───────────── ending ──────────┐   └────── ending ───┴──── ending ────┘ │
//!   │                                  │              ▼ all containers ended    │
//!   │ VM died, containers may restart  │        ShuttingDown ──VM gone──▶ Gone ◀┘ VM died, none may restart
//!   └──────────────────────────────────│──────────────────────────────── │
//!                                      └───────────▶ Releasing ◀─────────┘ ──released──▶ Released
//! ```
//!
//! `Machine::step` takes one event in, then `advance` derives every action that the new state calls for, so
//! that a lost or repeated event never wedges a pod. The state is data: it is stored, and restored by the
//! next agent process.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::container::{ContainerState, Exit, ImageState, Run};
use crate::event::{Action, Event, PullFailure, PulledImage, Record};
use crate::plan::{PodPlan, RestartPolicy, Role};
use crate::probe;

/// A failed attach or volume is tried again after this long, unless something it needs changes before.
const RETRY_SECONDS: i64 = 10;
/// How long an image pull shows `ErrImagePull` before `ImagePullBackOff`, and a start failure its own reason
/// before `CrashLoopBackOff`.
pub const SHOW_FAILURE_SECONDS: i64 = 2;

/// Where the pod's virtual machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    Preparing,
    Launching,
    Configuring,
    Running,
    ShuttingDown,
    Gone,
    Releasing,
    Released,
}

/// Something the pod needs before its VM can be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Need {
    NotYet,
    InFlight,
    Ready,
    Failed { message: String, retry_at: Timestamp },
}

/// The pod is ending and will not come back on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub grace_seconds: i64,
    /// Set when the pod failed as a whole, not by its containers' exit codes.
    pub failure: Option<Failure>,
}

/// `status.reason` and `status.message` of a failed pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: String,
    pub message: String,
}

/// The part of a machine that outlives the agent process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    pub sandbox: Sandbox,
    pub network: Need,
    pub volumes: Need,
    pub address: Option<String>,
    pub boot_id: Option<String>,
    pub containers: Vec<ContainerState>,
    pub start_time: Timestamp,
    pub initialized: bool,
    pub vm_backoff: Backoff,
    pub vm_retry_at: Option<Timestamp>,
    pub ending: Option<Ending>,
    /// The API object is being deleted.
    pub deleted: bool,
}

/// One pod: what it should be and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    pub plan: PodPlan,
    pub state: PodState,
}

impl Machine {
    #[must_use]
    pub fn new(plan: PodPlan, now: Timestamp) -> Self {
        let state = PodState {
            sandbox: Sandbox::Preparing,
            network: Need::NotYet,
            volumes: Need::NotYet,
            address: None,
            boot_id: None,
            containers: vec![ContainerState::default(); plan.containers.len()],
            start_time: now,
            initialized: false,
            vm_backoff: Backoff::default(),
            vm_retry_at: None,
            ending: None,
            deleted: false,
        };
        Self { plan, state }
    }

    /// A pod that this node will not run: `Failed` at once.
    #[must_use]
    pub fn refused(plan: PodPlan, failure: Failure, now: Timestamp) -> Self {
        let mut machine = Self::new(plan, now);
        machine.state.sandbox = Sandbox::Released;
        machine.state.ending = Some(Ending { grace_seconds: 0, failure: Some(failure) });
        machine
    }

    /// Continues after an agent restart. What was in flight is asked again; the guest's own account
    /// (`ContainerRunning`, `ContainerExited`, then `GuestSynced`) settles what was starting. `None` when the
    /// stored state does not fit the pod.
    #[must_use]
    pub fn restore(plan: PodPlan, mut state: PodState) -> Option<Self> {
        if state.containers.len() != plan.containers.len() {
            return None;
        }
        for need in [&mut state.network, &mut state.volumes] {
            if *need == Need::InFlight {
                *need = Need::NotYet;
            }
        }
        for container in &mut state.containers {
            if container.image == ImageState::Pulling {
                container.image = ImageState::Needed;
            }
            match &mut container.run {
                Run::Running { post_start_in_flight, .. } => *post_start_in_flight = false,
                Run::Stopping(stopping) => stopping.hook_in_flight = false,
                Run::Waiting | Run::Rejected { .. } | Run::Starting | Run::Done { .. } => {}
            }
        }
        match state.sandbox {
            Sandbox::Releasing => state.sandbox = Sandbox::Gone,
            // The tap went with the agent: network and volumes are asked for anew.
            Sandbox::Preparing => (state.network, state.volumes) = (Need::NotYet, Need::NotYet),
            Sandbox::Launching
            | Sandbox::Configuring
            | Sandbox::Running
            | Sandbox::ShuttingDown
            | Sandbox::Gone
            | Sandbox::Released => {}
        }
        Some(Self { plan, state })
    }

    /// Continues the numbering of a pod that ran on this node before it lost its memory (a reboot).
    pub fn seed_restarts(&mut self, pod: &k8s_openapi::api::core::v1::Pod, now: Timestamp) {
        let status = pod.status.clone().unwrap_or_default();
        let statuses = status.init_container_statuses.into_iter().chain(status.container_statuses);
        for old in statuses.flatten().filter(|status| status.container_id.is_some()) {
            let Some(index) = self.plan.index_of(&old.name) else { continue };
            let attempt = u32::try_from(old.restart_count).unwrap_or(0);
            let mut exit = Exit::of_dead_vm(attempt, None, now, "the node has restarted");
            exit.reason = "ContainerStatusUnknown".into();
            let container = &mut self.state.containers[index];
            container.next_attempt = attempt + 1;
            container.exit = Some(exit);
        }
        if let Some(start) = status.start_time {
            self.state.start_time = start.0;
        }
    }

    /// Takes one event in and says what to do now.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        self.take_in(event, now, &mut actions);
        self.advance(now, &mut actions);
        actions
    }

    /// The pod has ended for good and holds nothing on this node any more.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.state.sandbox == Sandbox::Released
    }

    fn take_in(&mut self, event: Event, now: Timestamp, actions: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::ImageReady { container, image } => self.note_image(container, image, actions),
            Event::ImageFailed { container, failure } => {
                self.note_pull_failure(container, failure, now, actions);
            }
            Event::NetworkReady { address } => {
                self.state.network = Need::Ready;
                self.state.address = Some(address);
            }
            Event::NetworkFailed { message } => {
                self.state.network = need_failed(&message, now);
                let message = format!("Failed to create pod sandbox: {message}");
                actions.push(warn("FailedCreatePodSandBox", message, None));
            }
            Event::VolumesReady => self.state.volumes = Need::Ready,
            Event::VolumesFailed { message } => {
                self.state.volumes = need_failed(&message, now);
                actions.push(warn("FailedMount", message, None));
            }
            Event::ObjectsChanged => self.retry_missing(now),
            Event::VmReady => self.note_vm_ready(actions),
            Event::VmFailed { message } => {
                let message = format!("Failed to create pod sandbox: {message}");
                actions.push(warn("FailedCreatePodSandBox", message.clone(), None));
                self.note_vm_gone(&message, now, actions);
            }
            Event::Configured { boot_id } => self.note_configured(boot_id),
            Event::ConfigureFailed { message } => self.note_configure_failed(message, actions),
            Event::Deleted { grace_seconds } => self.begin_delete(grace_seconds, now),
            Event::Evicted { reason, message } => self.fail_pod(&reason, message),
            Event::VmExited { message } => self.note_vm_gone(&message, now, actions),
            Event::Released => self.state.sandbox = Sandbox::Released,
            container_event => self.take_in_container(container_event, now, actions),
        }
    }

    fn note_image(&mut self, container: usize, image: PulledImage, actions: &mut Vec<Action>) {
        let plan = &self.plan.containers[container];
        let message = match image.pull_millis {
            Some(millis) => format!(
                "Successfully pulled image \"{}\" in {millis}ms ({millis}ms including waiting). Image size: {} bytes.",
                plan.image, image.size_bytes
            ),
            None => format!("Container image \"{}\" already present on machine", plan.image),
        };
        actions.push(say("Pulled", message, Some(container)));
        let state = &mut self.state.containers[container];
        state.image = ImageState::Ready(image);
        state.pull_backoff.reset();
    }

    fn note_pull_failure(
        &mut self,
        container: usize,
        failure: PullFailure,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let image = &self.plan.containers[container].image;
        let message = format!("Failed to pull image \"{image}\": {}", failure.message);
        actions.push(warn("Failed", message, Some(container)));
        actions.push(warn("Failed", format!("Error: {}", failure.reason), Some(container)));
        let state = &mut self.state.containers[container];
        state.pull_backoff.note(now);
        let retry_at = (failure.reason == "ErrImagePull").then(|| state.pull_backoff.due(now));
        state.image = ImageState::Failed { failure, at: now, retry_at, said_backoff: false };
    }

    fn retry_missing(&mut self, now: Timestamp) {
        if let Need::Failed { retry_at, .. } = &mut self.state.volumes {
            *retry_at = now;
        }
        for container in &mut self.state.containers {
            if let Run::Rejected { retry_at, .. } = &mut container.run {
                *retry_at = now;
            }
        }
    }

    fn note_vm_ready(&mut self, actions: &mut Vec<Action>) {
        // In `Configuring` after an agent restart: the answer was lost, and the call is idempotent.
        if matches!(self.state.sandbox, Sandbox::Launching | Sandbox::Configuring) {
            self.state.sandbox = Sandbox::Configuring;
            actions.push(Action::Configure);
        }
    }

    fn note_configured(&mut self, boot_id: String) {
        self.state.boot_id = Some(boot_id);
        if self.state.sandbox == Sandbox::Configuring {
            self.state.sandbox = Sandbox::Running;
        }
    }

    /// A guest that cannot be configured is of no use: a new VM may do better.
    fn note_configure_failed(&mut self, message: String, actions: &mut Vec<Action>) {
        let message = format!("Failed to create pod sandbox: {message}");
        actions.push(warn("FailedCreatePodSandBox", message, None));
        if matches!(self.state.sandbox, Sandbox::Configuring | Sandbox::Running) {
            actions.push(Action::ShutdownVm);
        }
    }

    fn begin_delete(&mut self, grace_seconds: i64, now: Timestamp) {
        self.state.deleted = true;
        match &mut self.state.ending {
            Some(ending) => {
                ending.grace_seconds = ending.grace_seconds.min(grace_seconds);
                self.shorten_stops(grace_seconds, now);
            }
            None => self.state.ending = Some(Ending { grace_seconds, failure: None }),
        }
    }

    pub(crate) fn fail_pod(&mut self, reason: &str, message: String) {
        if self.state.ending.is_none() {
            let failure = Some(Failure { reason: reason.to_owned(), message });
            let grace_seconds = self.plan.grace_seconds;
            self.state.ending = Some(Ending { grace_seconds, failure });
        }
    }

    /// The VM is gone: its containers ended with it. Either the pod gets a new one, or it has ended.
    fn note_vm_gone(&mut self, message: &str, now: Timestamp, actions: &mut Vec<Action>) {
        match self.state.sandbox {
            Sandbox::Gone | Sandbox::Releasing | Sandbox::Released | Sandbox::Preparing => return,
            Sandbox::Launching
            | Sandbox::Configuring
            | Sandbox::Running
            | Sandbox::ShuttingDown => {}
        }
        for index in 0..self.state.containers.len() {
            self.lose_container(index, message, now);
        }
        self.state.boot_id = None;
        // A VM that never came up ran nothing: even `restartPolicy: Never` tries again, as with any sandbox.
        let was_up = !matches!(self.state.sandbox, Sandbox::Launching | Sandbox::Configuring);
        if self.state.ending.is_some() {
            self.state.sandbox = Sandbox::Gone;
        } else if !was_up || self.has_future() {
            let text = "Pod sandbox changed, it will be killed and re-created.";
            actions.push(say("SandboxChanged", text.into(), None));
            self.prepare_again(now);
        } else {
            self.state.sandbox = Sandbox::Gone;
            self.fail_pod_by_vm(message);
        }
    }

    fn lose_container(&mut self, index: usize, message: &str, now: Timestamp) {
        let state = &mut self.state.containers[index];
        if state.is_active() {
            let exit = Exit::of_dead_vm(state.attempt(), state.running_since(), now, message);
            state.note_exit(exit);
            state.run = Run::Done { restart_at: None, said_backoff: false };
        }
    }

    /// Some main container may still run in a new VM.
    fn has_future(&self) -> bool {
        let interrupted_init = !self.state.initialized && self.plan.restart != RestartPolicy::Never;
        let mains = self.plan.containers.iter().zip(&self.state.containers);
        interrupted_init
            || mains.filter(|(plan, _)| plan.role == Role::Main).any(|(plan, state)| {
                match (&state.run, &state.exit) {
                    (Run::Done { .. }, Some(exit)) => plan.restarts_after(exit.code),
                    (_, _) => self.plan.restart != RestartPolicy::Never,
                }
            })
    }

    fn fail_pod_by_vm(&mut self, message: &str) {
        // Containers that ended tell the phase themselves; one that never ran cannot.
        let untold =
            self.plan.containers.iter().zip(&self.state.containers).any(|(plan, state)| {
                plan.role == Role::Main && !matches!(state.run, Run::Done { .. })
            });
        let failure = untold.then(|| Failure {
            reason: "VirtualMachineEnded".into(),
            message: format!("the pod's virtual machine ended: {message}"),
        });
        self.state.ending = Some(Ending { grace_seconds: 0, failure });
    }

    fn prepare_again(&mut self, now: Timestamp) {
        let state = &mut self.state;
        state.sandbox = Sandbox::Preparing;
        state.network = Need::NotYet;
        state.volumes = Need::NotYet;
        state.initialized = false;
        state.vm_retry_at = Some(state.vm_backoff.due(now));
        for (plan, container) in self.plan.containers.iter().zip(&mut state.containers) {
            container.completed = false;
            let ended_for_good = plan.role == Role::Main
                && matches!(container.run, Run::Done { .. })
                && container.exit.as_ref().is_some_and(|exit| !plan.restarts_after(exit.code));
            if !ended_for_good {
                container.run = Run::Waiting;
            }
        }
    }

    fn advance(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.check_active_deadline(now);
        match self.state.sandbox {
            Sandbox::Preparing if self.state.ending.is_some() => self.release(actions),
            Sandbox::Preparing => self.prepare(now, actions),
            Sandbox::Launching | Sandbox::Configuring if self.state.ending.is_some() => {
                self.shut_down(actions);
            }
            Sandbox::Launching | Sandbox::Configuring | Sandbox::ShuttingDown => {}
            Sandbox::Running => self.advance_containers(now, actions),
            Sandbox::Gone => self.release(actions),
            Sandbox::Releasing | Sandbox::Released => {}
        }
    }

    fn check_active_deadline(&mut self, now: Timestamp) {
        let deadline = self.active_deadline();
        if deadline.is_some_and(|at| at <= now) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.fail_pod("DeadlineExceeded", message.into());
        }
    }

    fn active_deadline(&self) -> Option<Timestamp> {
        if self.state.ending.is_some() {
            return None;
        }
        let seconds = self.plan.active_deadline_seconds?;
        Some(self.state.start_time + SignedDuration::from_secs(seconds))
    }

    fn prepare(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        for index in 0..self.state.containers.len() {
            self.want_image(index, now, actions);
        }
        if take_need(&mut self.state.network, now) {
            actions.push(Action::AttachNetwork);
        }
        if take_need(&mut self.state.volumes, now) {
            actions.push(Action::ResolveVolumes);
        }
        let images = self.state.containers.iter();
        let all_images = images.clone().all(|c| matches!(c.image, ImageState::Ready(_)));
        let ready = all_images
            && self.state.network == Need::Ready
            && self.state.volumes == Need::Ready
            && self.state.vm_retry_at.is_none_or(|at| at <= now);
        if ready {
            if self.state.vm_retry_at.take().is_some() {
                self.state.vm_backoff.note(now);
            }
            self.state.sandbox = Sandbox::Launching;
            actions.push(Action::LaunchVm);
        }
    }

    fn want_image(&mut self, index: usize, now: Timestamp, actions: &mut Vec<Action>) {
        let plan = &self.plan.containers[index];
        let state = &mut self.state.containers[index];
        match &mut state.image {
            ImageState::Needed => {}
            ImageState::Failed { retry_at: Some(at), .. } if *at <= now => {}
            ImageState::Failed { at, said_backoff, retry_at: Some(_), .. } => {
                let shown = *at + SignedDuration::from_secs(SHOW_FAILURE_SECONDS) <= now;
                if shown && !*said_backoff {
                    *said_backoff = true;
                    let message = format!("Back-off pulling image \"{}\"", plan.image);
                    actions.push(say("BackOff", message, Some(index)));
                    actions.push(warn("Failed", "Error: ImagePullBackOff".into(), Some(index)));
                }
                return;
            }
            ImageState::Failed { retry_at: None, .. } => return,
            ImageState::Pulling | ImageState::Ready(_) => return,
        }
        state.image = ImageState::Pulling;
        actions.push(Action::PullImage { container: index });
    }

    pub(crate) fn shut_down(&mut self, actions: &mut Vec<Action>) {
        self.state.sandbox = Sandbox::ShuttingDown;
        actions.push(Action::ShutdownVm);
    }

    fn release(&mut self, actions: &mut Vec<Action>) {
        self.state.sandbox = Sandbox::Releasing;
        actions.push(Action::Release);
    }

    /// When to step with `Tick` at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let state = &self.state;
        let mut times: Vec<Timestamp> = self.active_deadline().into_iter().collect();
        if state.sandbox == Sandbox::Preparing {
            times.extend(state.vm_retry_at);
            times.extend([&state.network, &state.volumes].into_iter().filter_map(Need::retry_at));
            times.extend(state.containers.iter().filter_map(image_deadline));
        }
        if state.sandbox == Sandbox::Running {
            let containers = self.plan.containers.iter().zip(&state.containers);
            times.extend(containers.filter_map(|(plan, state)| self.run_deadline(plan, state)));
        }
        times.into_iter().min()
    }

    fn run_deadline(
        &self,
        plan: &crate::plan::ContainerPlan,
        state: &ContainerState,
    ) -> Option<Timestamp> {
        match &state.run {
            Run::Rejected { retry_at, .. } => Some(*retry_at),
            Run::Running { since, .. } => probe::next_due(plan, &state.probes, *since),
            Run::Stopping(stopping) => (!stopping.kill_sent).then_some(stopping.kill_at),
            Run::Done { restart_at, .. } => *restart_at,
            Run::Waiting | Run::Starting => None,
        }
    }
}

impl Need {
    fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::Failed { retry_at, .. } => Some(*retry_at),
            Self::NotYet | Self::InFlight | Self::Ready => None,
        }
    }
}

fn image_deadline(container: &ContainerState) -> Option<Timestamp> {
    let ImageState::Failed { at, retry_at, said_backoff, .. } = &container.image else {
        return None;
    };
    let shown = *at + SignedDuration::from_secs(SHOW_FAILURE_SECONDS);
    if *said_backoff {
        *retry_at
    } else {
        Some(retry_at.map_or(shown, |retry| retry.min(shown))).filter(|_| retry_at.is_some())
    }
}

fn take_need(need: &mut Need, now: Timestamp) -> bool {
    let due = match need {
        Need::NotYet => true,
        Need::Failed { retry_at, .. } => *retry_at <= now,
        Need::InFlight | Need::Ready => false,
    };
    if due {
        *need = Need::InFlight;
    }
    due
}

fn need_failed(message: &str, now: Timestamp) -> Need {
    let retry_at = now + SignedDuration::from_secs(RETRY_SECONDS);
    Need::Failed { message: message.to_owned(), retry_at }
}

pub(crate) fn say(reason: &'static str, message: String, container: Option<usize>) -> Action {
    Action::Record(Record { warning: false, reason, message, container })
}

pub(crate) fn warn(reason: &'static str, message: String, container: Option<usize>) -> Action {
    Action::Record(Record { warning: true, reason, message, container })
}
