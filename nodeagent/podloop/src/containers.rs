//! Containers inside a running VM: starting in order, restarts, probes, and the way down.

use jiff::{SignedDuration, Timestamp};

use crate::container::{Exit, Run, Stopping};
use crate::event::{Action, Event, Hook, HookResult, ProbeKind, ProbeOutcome};
use crate::machine::{Ending, Machine, SHOW_FAILURE_SECONDS, Sandbox, say, warn};
use crate::plan::Role;
use crate::probe;

/// A container that could not be made for lack of an object is tried again after this long at the latest;
/// the object's change tries it at once.
const REJECTED_RETRY_SECONDS: i64 = 10;
/// A preStop hook that used up the grace period leaves at least this much (`minimumGracePeriodInSeconds`).
const MIN_GRACE_SECONDS: i64 = 2;

/// Which containers a stop concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wave {
    /// Init and main containers, together.
    Mains,
    /// The last sidecar that is still up.
    LastSidecar,
}

impl Machine {
    pub(crate) fn take_in_container(
        &mut self,
        event: Event,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        match event {
            Event::ContainerRunning { container, attempt, at } => {
                self.note_running(container, attempt, at, actions);
            }
            Event::ContainerRejected { container, attempt, reason, message } => {
                if !self.is_current(container, attempt) {
                    return;
                }
                actions.push(warn("Failed", format!("Error: {message}"), Some(container)));
                let retry_at = now + SignedDuration::from_secs(REJECTED_RETRY_SECONDS);
                let state = &mut self.state.containers[container];
                // Nothing was created: the next try is the same attempt.
                state.next_attempt = attempt;
                state.run = Run::Rejected { reason, message, retry_at };
            }
            Event::ContainerNotStarted { container, attempt, exit } => {
                if self.is_current(container, attempt) {
                    let message = format!("Error: {}", exit.message);
                    actions.push(warn("Failed", message, Some(container)));
                    self.note_end(container, exit, actions);
                }
            }
            Event::ContainerExited { container, attempt, exit } => {
                if self.is_current(container, attempt) {
                    self.note_end(container, exit, actions);
                }
            }
            Event::HookDone { container, attempt, hook, result } => {
                if self.is_current(container, attempt) {
                    self.note_hook(container, hook, &result, now, actions);
                }
            }
            Event::Probed { container, attempt, kind, outcome } => {
                if self.is_current(container, attempt) {
                    self.note_probe(container, kind, &outcome, now, actions);
                }
            }
            Event::GuestSynced => self.restart_lost_starts(),
            other => debug_assert!(false, "not a container event: {other:?}"),
        }
    }

    fn is_current(&self, container: usize, attempt: u32) -> bool {
        let state = &self.state.containers[container];
        state.is_active() && state.attempt() == attempt
    }

    fn note_running(
        &mut self,
        container: usize,
        attempt: u32,
        at: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let plan = &self.plan.containers[container];
        let state = &mut self.state.containers[container];
        if state.run != Run::Starting || state.attempt() != attempt {
            return;
        }
        actions.push(say("Created", format!("Created container: {}", plan.name), Some(container)));
        actions.push(say("Started", format!("Started container {}", plan.name), Some(container)));
        state.run = Run::Running { since: at, post_start_in_flight: plan.post_start };
        if plan.post_start {
            actions.push(Action::RunHook { container, attempt, hook: Hook::PostStart });
        }
    }

    fn note_end(&mut self, container: usize, exit: Exit, actions: &mut Vec<Action>) {
        let plan = &self.plan.containers[container];
        let state = &mut self.state.containers[container];
        let attempt = state.attempt();
        if state.run == Run::Starting && exit.reason != "StartError" {
            // It ended before the answer to its start was read.
            let message = format!("Started container {}", plan.name);
            actions.push(say("Started", message, Some(container)));
        }
        let restarts = plan.restarts_after(exit.code) && self.state.ending.is_none();
        let restart_at = restarts.then(|| state.restart_backoff.due(exit.finished));
        state.completed = plan.role == Role::Init && exit.code == 0;
        state.note_exit(exit);
        state.run = Run::Done { restart_at, said_backoff: false };
        actions.push(Action::Forget { container, attempt });
    }

    fn note_hook(
        &mut self,
        container: usize,
        hook: Hook,
        result: &HookResult,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let name = self.plan.containers[container].name.clone();
        let failed = match result {
            HookResult::Succeeded => None,
            HookResult::Failed { message } => Some(message),
        };
        if let Some(message) = failed {
            let reason = match hook {
                Hook::PostStart => "FailedPostStartHook",
                Hook::PreStop => "FailedPreStopHook",
            };
            actions.push(warn(reason, format!("{hook:?}Hook failed: {message}"), Some(container)));
        }
        match (&mut self.state.containers[container].run, hook) {
            (Run::Running { post_start_in_flight, .. }, Hook::PostStart) => {
                *post_start_in_flight = false;
                if failed.is_some() {
                    let why = format!("FailedPostStartHook: container {name} will be killed");
                    self.begin_stop(container, self.plan.grace_seconds, &why, now, actions);
                }
            }
            (Run::Stopping(stopping), Hook::PreStop) => {
                stopping.hook_in_flight = false;
                let least = now + SignedDuration::from_secs(MIN_GRACE_SECONDS);
                stopping.kill_at = stopping.kill_at.max(least);
            }
            (_, _) => {}
        }
    }

    fn note_probe(
        &mut self,
        container: usize,
        kind: ProbeKind,
        outcome: &ProbeOutcome,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let plan = &self.plan.containers[container];
        let Some(probe_plan) = probe::plan_of(plan, kind) else { return };
        let grace = probe_plan.grace_seconds.unwrap_or(self.plan.grace_seconds);
        let state = &mut self.state.containers[container];
        let worker = state.probes.worker(kind);
        let verdict = probe::note_outcome(probe_plan, worker, outcome, now);
        if !matches!(state.run, Run::Running { .. }) {
            return;
        }
        if let ProbeOutcome::Failure { message } = outcome {
            let message = format!("{} probe failed: {message}", kind.title());
            actions.push(warn("Unhealthy", message, Some(container)));
        }
        if verdict == Some(false) && kind != ProbeKind::Readiness {
            let word = kind.title().to_lowercase();
            let why = format!("Container {} failed {word} probe, will be restarted", plan.name);
            self.begin_stop(container, grace, &why, now, actions);
        }
    }

    /// After a re-adoption: a start that the guest knows nothing of did not happen.
    fn restart_lost_starts(&mut self) {
        for state in &mut self.state.containers {
            if state.run == Run::Starting {
                state.next_attempt = state.attempt();
                state.run = Run::Waiting;
            }
        }
    }

    pub(crate) fn advance_containers(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.state.ending.is_none() {
            self.check_completion();
        }
        if let Some(ending) = self.state.ending.clone() {
            self.wind_down(&ending, now, actions);
        } else {
            self.start_in_order(now, actions);
            self.run_probes(now, actions);
        }
        self.drive_stops(now, actions);
    }

    /// Every main container has ended for good, or an init container has failed for good.
    fn check_completion(&mut self) {
        let containers = || self.plan.containers.iter().zip(&self.state.containers);
        let over =
            |state: &crate::ContainerState| matches!(state.run, Run::Done { restart_at: None, .. });
        let init_failed = containers()
            .any(|(plan, state)| plan.role == Role::Init && over(state) && !state.completed);
        let mains_over =
            containers().filter(|(plan, _)| plan.role == Role::Main).all(|(_, state)| over(state));
        if init_failed || mains_over {
            let grace_seconds = self.plan.grace_seconds;
            self.state.ending = Some(Ending { grace_seconds, failure: None });
        }
    }

    fn start_in_order(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let mut blocked = false;
        for index in 0..self.plan.containers.len() {
            let role = self.plan.containers[index].role;
            let wanted = match role {
                Role::Init => {
                    !blocked && !self.state.containers[index].completed && !self.state.initialized
                }
                Role::Sidecar | Role::Main => !blocked,
            };
            if wanted {
                self.start_if_due(index, now, actions);
            }
            blocked |= self.blocks_next(index);
            let next_is_main =
                self.plan.containers.get(index + 1).is_none_or(|next| next.role == Role::Main);
            if role != Role::Main && next_is_main && !blocked {
                self.state.initialized = true;
            }
        }
        if self.plan.containers.first().is_none_or(|first| first.role == Role::Main) {
            self.state.initialized = true;
        }
    }

    fn blocks_next(&self, index: usize) -> bool {
        let (plan, state) = (&self.plan.containers[index], &self.state.containers[index]);
        match plan.role {
            Role::Main => false,
            Role::Init => !state.completed && !self.state.initialized,
            Role::Sidecar => {
                let up = matches!(state.run, Run::Running { post_start_in_flight: false, .. })
                    && state.probes.is_started(plan);
                !up && !self.state.initialized
            }
        }
    }

    fn start_if_due(&mut self, index: usize, now: Timestamp, actions: &mut Vec<Action>) {
        let described = self.plan.described();
        let plan = &self.plan.containers[index];
        let state = &mut self.state.containers[index];
        match &mut state.run {
            Run::Waiting => {}
            Run::Rejected { retry_at, .. } if *retry_at <= now => {}
            Run::Done { restart_at: Some(at), .. } if *at <= now => state.restart_backoff.note(now),
            Run::Done { restart_at: Some(_), said_backoff } => {
                if !*said_backoff {
                    *said_backoff = true;
                    let message = format!(
                        "Back-off restarting failed container {} in pod {described}",
                        plan.name
                    );
                    actions.push(warn("BackOff", message, Some(index)));
                }
                return;
            }
            Run::Rejected { .. }
            | Run::Starting
            | Run::Running { .. }
            | Run::Stopping(_)
            | Run::Done { restart_at: None, .. } => return,
        }
        let attempt = state.next_attempt;
        state.next_attempt += 1;
        state.run = Run::Starting;
        actions.push(Action::StartContainer { container: index, attempt });
    }

    fn run_probes(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        for (index, plan) in self.plan.containers.iter().enumerate() {
            let state = &mut self.state.containers[index];
            let Run::Running { since, post_start_in_flight: false } = state.run else { continue };
            let attempt = state.attempt();
            for kind in probe::take_due(plan, &mut state.probes, since, now) {
                actions.push(Action::Probe { container: index, attempt, kind });
            }
        }
    }

    /// Main containers first, then sidecars one by one from the last, then the VM.
    fn wind_down(&mut self, ending: &Ending, now: Timestamp, actions: &mut Vec<Action>) {
        let grace = ending.grace_seconds;
        if self.stop_wave(Wave::Mains, grace, now, actions) {
            return;
        }
        if self.stop_wave(Wave::LastSidecar, grace, now, actions) {
            return;
        }
        if self.state.sandbox == Sandbox::Running {
            self.shut_down(actions);
        }
    }

    /// Begins the stop of the wave's containers; says whether any is still up.
    fn stop_wave(
        &mut self,
        wave: Wave,
        grace: i64,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> bool {
        let mut up: Vec<usize> = (0..self.plan.containers.len())
            .filter(|index| self.state.containers[*index].is_active())
            .filter(|index| {
                (self.plan.containers[*index].role == Role::Sidecar) == (wave == Wave::LastSidecar)
            })
            .collect();
        if wave == Wave::LastSidecar {
            up = up.last().copied().into_iter().collect();
        }
        for index in &up {
            let why = format!("Stopping container {}", self.plan.containers[*index].name);
            self.begin_stop(*index, grace, &why, now, actions);
        }
        !up.is_empty()
    }

    fn begin_stop(
        &mut self,
        container: usize,
        grace_seconds: i64,
        why: &str,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let plan = &self.plan.containers[container];
        let state = &mut self.state.containers[container];
        let Run::Running { since, .. } = state.run else { return };
        actions.push(say("Killing", why.to_owned(), Some(container)));
        let hook = plan.pre_stop && grace_seconds > 0;
        state.run = Run::Stopping(Stopping {
            since,
            hook_in_flight: hook,
            term_sent: false,
            kill_at: now + SignedDuration::from_secs(grace_seconds.max(0)),
            kill_sent: false,
        });
        if hook {
            let attempt = state.attempt();
            actions.push(Action::RunHook { container, attempt, hook: Hook::PreStop });
        }
    }

    /// A second delete with less grace brings the kill forward.
    pub(crate) fn shorten_stops(&mut self, grace_seconds: i64, now: Timestamp) {
        let at = now + SignedDuration::from_secs(grace_seconds.max(0));
        for state in &mut self.state.containers {
            if let Run::Stopping(stopping) = &mut state.run {
                stopping.kill_at = stopping.kill_at.min(at);
            }
        }
    }

    fn drive_stops(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        for (container, state) in self.state.containers.iter_mut().enumerate() {
            let attempt = state.attempt();
            let Run::Stopping(stopping) = &mut state.run else { continue };
            let overdue = stopping.kill_at <= now;
            if overdue && !stopping.kill_sent {
                stopping.kill_sent = true;
                stopping.term_sent = true;
                actions.push(Action::Signal { container, attempt, kill: true });
            } else if !stopping.hook_in_flight && !stopping.term_sent {
                stopping.term_sent = true;
                actions.push(Action::Signal { container, attempt, kill: false });
            }
        }
    }

    /// The reason to show while a container waits for its restart.
    #[must_use]
    pub fn shows_start_error(&self, index: usize, now: Timestamp) -> bool {
        let shown = |exit: &Exit| {
            exit.reason == "StartError"
                && now < exit.finished + SignedDuration::from_secs(SHOW_FAILURE_SECONDS)
        };
        self.state.containers[index].exit.as_ref().is_some_and(shown)
    }
}
