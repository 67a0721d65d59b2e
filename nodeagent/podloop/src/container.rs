//! The state of one container.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::event::{PullFailure, PulledImage};
use crate::probe::Probes;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: i32,
    /// 0 unless a signal ended it.
    pub signal: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub reason: String,
    pub message: String,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
    pub attempt: u32,
}

/// The image a container needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageState {
    Needed,
    Pulling,
    Ready(PulledImage),
    Failed { failure: PullFailure, at: Timestamp, retry_at: Option<Timestamp>, said_backoff: bool },
}

/// Where a container's process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    /// Not started in this VM yet.
    Waiting,
    /// Could not be created for lack of something (`CreateContainerConfigError`).
    Rejected {
        reason: String,
        message: String,
        retry_at: Timestamp,
    },
    Starting,
    Running {
        since: Timestamp,
        post_start_in_flight: bool,
    },
    Stopping(Stopping),
    /// Ended; `ContainerState::exit` says how.
    Done {
        restart_at: Option<Timestamp>,
        said_backoff: bool,
    },
}

/// A container on its way down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    pub since: Timestamp,
    /// The preStop hook is still running.
    pub hook_in_flight: bool,
    pub term_sent: bool,
    pub kill_at: Timestamp,
    pub kill_sent: bool,
}

/// All that is known about one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    pub image: ImageState,
    pub pull_backoff: Backoff,
    pub run: Run,
    /// Number of the next start; the present one is this minus one.
    pub next_attempt: u32,
    /// The last end.
    pub exit: Option<Exit>,
    /// The end before `exit`.
    pub previous_exit: Option<Exit>,
    pub restart_backoff: Backoff,
    pub probes: Probes,
    /// An init container that has succeeded in this VM.
    pub completed: bool,
}

impl Default for ContainerState {
    fn default() -> Self {
        Self {
            image: ImageState::Needed,
            pull_backoff: Backoff::default(),
            run: Run::Waiting,
            next_attempt: 0,
            exit: None,
            previous_exit: None,
            restart_backoff: Backoff::default(),
            probes: Probes::default(),
            completed: false,
        }
    }
}

impl ContainerState {
    /// Number of the present (or last) start.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.next_attempt.saturating_sub(1)
    }

    /// A process exists, or may exist, in the guest.
    #[must_use]
    pub fn is_active(&self) -> bool {
        match self.run {
            Run::Starting | Run::Running { .. } | Run::Stopping(_) => true,
            Run::Waiting | Run::Rejected { .. } | Run::Done { .. } => false,
        }
    }

    #[must_use]
    pub fn running_since(&self) -> Option<Timestamp> {
        match &self.run {
            Run::Running { since, .. } => Some(*since),
            Run::Stopping(stopping) => Some(stopping.since),
            Run::Waiting | Run::Rejected { .. } | Run::Starting | Run::Done { .. } => None,
        }
    }

    /// Notes an end and keeps the one before.
    pub fn note_exit(&mut self, exit: Exit) {
        self.previous_exit = self.exit.replace(exit);
        self.probes = Probes::default();
    }
}

impl Exit {
    /// The end of a container whose VM died under it.
    #[must_use]
    pub fn of_dead_vm(
        attempt: u32,
        started: Option<Timestamp>,
        finished: Timestamp,
        message: &str,
    ) -> Self {
        let message = message.to_owned();
        Self { code: 137, signal: 9, reason: "Error".into(), message, started, finished, attempt }
    }
}
