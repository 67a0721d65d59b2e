//! Events about objects, as `kubectl describe` shows them: equal ones are counted, noisy sources are held back.
//!
//! The rules are client-go's (tools/record/events_cache.go): the same source, object, type, reason and message
//! raise the count of one Event; one source and object may write 25 at once and one more every 300 s.

mod aggregate;

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use self::aggregate::{Aggregator, Effect};
use crate::retry::is_not_found;

/// Events that may wait to be sent; more are dropped, as they are only hints.
const QUEUE_MAX: usize = 256;

/// How serious an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    Normal,
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What happened to which object.
#[derive(Debug, Clone)]
struct Occurrence {
    regarding: ObjectReference,
    severity: Severity,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Writes events in the background. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Recorder {
    /// `component` is shown as the source (`kubelet`, `default-scheduler`); `host` is the node's name where there is one.
    /// Must be called inside a Tokio runtime.
    #[must_use]
    pub fn start(client: Client, component: &str, host: Option<&str>) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let source =
            EventSource { component: Some(component.to_owned()), host: host.map(str::to_owned) };
        let task = Task { client, aggregator: Aggregator::new(source), receiver };
        let handle = tokio::spawn(task.run());
        Self { queue, _task: Arc::new(AbortOnDropHandle::new(handle)) }
    }

    /// Reports; never waits. Get `regarding` from `object.object_ref(&())`.
    pub fn record(
        &self,
        regarding: &ObjectReference,
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
    ) {
        let occurrence = Occurrence {
            regarding: regarding.clone(),
            severity,
            reason: reason.to_owned(),
            message: message.into(),
            at: Timestamp::now(),
        };
        if self.queue.try_send(occurrence).is_err() {
            tracing::debug!(reason, "dropped an event: the queue is full");
        }
    }
}

struct Task {
    client: Client,
    aggregator: Aggregator,
    receiver: mpsc::Receiver<Occurrence>,
}

impl Task {
    async fn run(mut self) {
        while let Some(occurrence) = self.receiver.recv().await {
            let effect = self.aggregator.observe(&occurrence);
            if let Err(error) = self.write(effect).await {
                tracing::debug!(%error, reason = occurrence.reason, "failed to write an event");
            }
        }
    }

    async fn write(&self, effect: Effect) -> Result<(), kube::Error> {
        let event = match &effect {
            Effect::Nothing => return Ok(()),
            Effect::Create(event) | Effect::Count(event) => event,
        };
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if matches!(effect, Effect::Count(_)) {
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let patch = serde_json::json!({
                "count": event.count,
                "lastTimestamp": event.last_timestamp,
            });
            match events.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                // It expired: write it anew, with its count.
                Err(error) if is_not_found(&error) => {}
                done => return done.map(drop),
            }
        }
        events.create(&PostParams::default(), event).await.map(drop)
    }
}
