//! Container logs: files in CRI format below the log directory, written from the guest's output, read by the
//! kubelet API. Followers are told of growth by a watch channel; nobody polls.

pub mod line;
pub mod query;
pub mod reader;
pub mod writer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

/// What followers wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    /// Counts writes.
    pub writes: u64,
    /// Counts rotations.
    pub rotations: u64,
    /// Nothing more will come.
    pub ended: bool,
}

/// Names one log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogId {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    pub attempt: u32,
}

/// All logs of the node.
#[derive(Debug, Clone)]
pub struct Logs {
    root: PathBuf,
    live: Arc<Mutex<HashMap<LogId, Live>>>,
}

/// A log that is being written.
#[derive(Debug, Clone)]
struct Live {
    growth: watch::Sender<Growth>,
    /// Raw output (true: standard error) for attached clients.
    output: broadcast::Sender<(bool, Bytes)>,
}

/// Pieces that an attached client may be behind.
const TAP_PIECES: usize = 256;

impl Logs {
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, live: Arc::default() }
    }

    /// `<root>/<namespace>_<pod>_<uid>`.
    #[must_use]
    pub fn pod_dir(&self, namespace: &str, pod: &str, uid: &str) -> PathBuf {
        self.root.join(format!("{namespace}_{pod}_{uid}"))
    }

    /// `.../<container>/<attempt>.log`.
    #[must_use]
    pub fn path(&self, id: &LogId) -> PathBuf {
        let pod = self.pod_dir(&id.namespace, &id.pod, &id.uid);
        pod.join(&id.container).join(format!("{}.log", id.attempt))
    }

    /// The growth of a log that is being written; `None` when nobody writes it.
    #[must_use]
    pub fn growth(&self, id: &LogId) -> Option<watch::Receiver<Growth>> {
        self.live.lock().get(id).map(|live| live.growth.subscribe())
    }

    /// The output from now on, as it comes; `None` when nobody writes the log.
    #[must_use]
    pub fn tap(&self, id: &LogId) -> Option<broadcast::Receiver<(bool, Bytes)>> {
        self.live.lock().get(id).map(|live| live.output.subscribe())
    }

    fn begin(&self, id: &LogId) -> Live {
        let growth = watch::Sender::new(Growth::default());
        let live = Live { growth, output: broadcast::Sender::new(TAP_PIECES) };
        self.live.lock().insert(id.clone(), live.clone());
        live
    }

    fn end(&self, id: &LogId) {
        if let Some(live) = self.live.lock().remove(id) {
            live.growth.send_modify(|growth| growth.ended = true);
        }
    }
}
