//! What can happen to a pod, and what the pod's task must do about it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container::Exit;

/// Something that happened. `container` is an index into `PodPlan::containers`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Time passed; the machine looks at its deadlines.
    Tick,
    ImageReady {
        container: usize,
        image: PulledImage,
    },
    ImageFailed {
        container: usize,
        failure: PullFailure,
    },
    NetworkReady {
        address: String,
    },
    NetworkFailed {
        message: String,
    },
    VolumesReady,
    VolumesFailed {
        message: String,
    },
    /// A referenced configMap, secret or service changed: what failed for lack of it may be tried again.
    ObjectsChanged,
    /// The guest's PID 1 called.
    VmReady,
    VmFailed {
        message: String,
    },
    Configured {
        boot_id: String,
    },
    ConfigureFailed {
        message: String,
    },
    ContainerRunning {
        container: usize,
        attempt: u32,
        at: Timestamp,
    },
    /// Environment or security settings could not be made: nothing was created.
    ContainerRejected {
        container: usize,
        attempt: u32,
        reason: String,
        message: String,
    },
    /// The guest could not execute the process.
    ContainerNotStarted {
        container: usize,
        attempt: u32,
        exit: Exit,
    },
    ContainerExited {
        container: usize,
        attempt: u32,
        exit: Exit,
    },
    HookDone {
        container: usize,
        attempt: u32,
        hook: Hook,
        result: HookResult,
    },
    Probed {
        container: usize,
        attempt: u32,
        kind: ProbeKind,
        outcome: ProbeOutcome,
    },
    /// The guest has told every present state (after a re-adoption).
    GuestSynced,
    VmExited {
        message: String,
    },
    /// The API object has a deletion timestamp.
    Deleted {
        grace_seconds: i64,
    },
    /// The kubelet itself ends the pod (eviction, deadline of the node).
    Evicted {
        reason: String,
        message: String,
    },
    Released,
}

/// Something the pod's task must do. Each is answered by one event, except `Record` and `Forget`.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    PullImage {
        container: usize,
    },
    AttachNetwork,
    ResolveVolumes,
    LaunchVm,
    /// `Configure` and `WriteVolume` in the guest.
    Configure,
    StartContainer {
        container: usize,
        attempt: u32,
    },
    RunHook {
        container: usize,
        attempt: u32,
        hook: Hook,
    },
    /// `kill` is SIGKILL, else the container's stop signal.
    Signal {
        container: usize,
        attempt: u32,
        kill: bool,
    },
    Probe {
        container: usize,
        attempt: u32,
        kind: ProbeKind,
    },
    /// The guest may drop an exited container and its writable layer.
    Forget {
        container: usize,
        attempt: u32,
    },
    ShutdownVm,
    /// Gives back address, scratch disk and records.
    Release,
    Record(Record),
}

/// A Kubernetes event to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
    pub container: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hook {
    PostStart,
    PreStop,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookResult {
    Succeeded,
    Failed { message: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// "Liveness", as in event messages.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    Success,
    Failure { message: String },
}

/// An image that is on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledImage {
    /// `sha256:...` of the image's config.
    pub id: String,
    /// `name@sha256:...`; what `imageID` shows. Falls back to `id`.
    pub digest: String,
    /// Milliseconds of the pull; absent when the image was there.
    pub pull_millis: Option<u64>,
    pub size_bytes: u64,
    /// From the image's configuration.
    pub stop_signal: Option<String>,
}

/// Why an image could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullFailure {
    /// `ErrImagePull`, `InvalidImageName`, `ErrImageNeverPull`.
    pub reason: String,
    pub message: String,
}
