//! When each pod passed each stage of its start: for logs and for `/debug/pods`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

/// The stages, in their usual order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    AgentSeen,
    ImageReady,
    NetworkReady,
    VolumesReady,
    VmStarted,
    GuestPid1,
    Configured,
    ContainerRunning,
    Ready,
}

impl Stage {
    /// The field's name in JSON and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AgentSeen => "agentSeen",
            Self::ImageReady => "imageReady",
            Self::NetworkReady => "networkReady",
            Self::VolumesReady => "volumesReady",
            Self::VmStarted => "vmStarted",
            Self::GuestPid1 => "guestPid1",
            Self::Configured => "configured",
            Self::ContainerRunning => "containerRunning",
            Self::Ready => "ready",
        }
    }
}

/// The stages of one pod's latest start.
#[derive(Debug, Clone, Default)]
pub struct Stages {
    times: Arc<Mutex<BTreeMap<Stage, i64>>>,
}

impl Stages {
    /// Notes a stage at `nanos` (unix), the first time it is passed.
    pub fn note_at(&self, stage: Stage, nanos: i64) {
        let mut times = self.times.lock();
        if times.contains_key(&stage) {
            return;
        }
        times.insert(stage, nanos);
        let since_seen = times.get(&Stage::AgentSeen).map_or(0, |seen| (nanos - seen) / 1_000_000);
        tracing::info!(
            stage = stage.name(),
            unix_nanos = nanos,
            since_seen_ms = since_seen,
            "stage"
        );
    }

    pub fn note(&self, stage: Stage) {
        self.note_at(stage, unix_nanos());
    }

    /// Name to unix nanoseconds.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<&'static str, i64> {
        self.times.lock().iter().map(|(stage, nanos)| (stage.name(), *nanos)).collect()
    }
}

/// Now, as unix nanoseconds.
#[must_use]
pub fn unix_nanos() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// A timestamp from the guest's unix nanoseconds; out of range becomes the epoch.
#[must_use]
pub fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}
