//! The one owner of what runs in this VM: the sandbox as configured, and its containers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::guest::{Configured, Event, Sandbox, Synced, event::What};
use tokio::sync::{broadcast, mpsc};
use tonic::Status;

use crate::boot::Paths;
use crate::entry::Entry;
use crate::reaper::Reaper;

/// Changes a slow listener may lag behind before it gets the whole state anew.
const EVENTS_KEPT_MAX: usize = 256;
/// Events on the way to one listener.
const EVENT_QUEUE_MAX: usize = 16;

/// Shared by all requests.
pub struct Pod {
    pub paths: Paths,
    pub reaper: Reaper,
    pub pid1_nanos: u64,
    state: Mutex<State>,
    changes: broadcast::Sender<Event>,
}

#[derive(Default)]
pub struct State {
    pub configured: Option<(Sandbox, Configured)>,
    /// Where each volume is.
    pub volumes: BTreeMap<String, PathBuf>,
    /// The PID namespace that containers share, if they do.
    pub pid_namespace: Option<OwnedFd>,
    pub containers: BTreeMap<String, Arc<Entry>>,
    /// Ids of containers on their way.
    pub starting: BTreeSet<String>,
}

impl Pod {
    pub fn new(paths: Paths, reaper: Reaper, pid1_nanos: u64) -> Arc<Self> {
        let changes = broadcast::Sender::new(EVENTS_KEPT_MAX);
        Arc::new(Self { paths, reaper, pid1_nanos, state: Mutex::default(), changes })
    }

    /// Never held across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn entry(&self, id: &str) -> Result<Arc<Entry>, Status> {
        let found = self.state().containers.get(id).cloned();
        found.ok_or_else(|| Status::not_found(format!("there is no container {id:?}")))
    }

    /// Tells listeners; having none is fine.
    pub fn announce(&self, event: Event) {
        let _ = self.changes.send(event);
    }

    /// The present state of every container, then each change. A listener that lags gets the state again.
    pub fn listen(self: &Arc<Self>) -> mpsc::Receiver<Result<Event, Status>> {
        let (send, receive) = mpsc::channel(EVENT_QUEUE_MAX);
        let pod = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                // First: a listener that left must not be served.
                () = send.closed() => {}
                () = pod.feed(&send) => {}
            }
        });
        receive
    }

    async fn feed(&self, send: &mpsc::Sender<Result<Event, Status>>) {
        loop {
            let (mut changes, present) = {
                let state = self.state();
                let events: Vec<Event> = state.containers.values().map(|e| e.event()).collect();
                (self.changes.subscribe(), events)
            };
            let synced = Event { container_id: String::new(), what: Some(What::Synced(Synced {})) };
            for event in present.into_iter().chain([synced]) {
                if send.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            while let Ok(event) = changes.recv().await {
                if send.send(Ok(event)).await.is_err() {
                    return;
                }
            }
        }
    }
}
