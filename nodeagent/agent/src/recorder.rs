//! Kubernetes events: written in order from a bounded queue, repeated ones counted up instead of multiplied.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;

/// Events waiting to be written; more are dropped, as events may be.
const QUEUE: usize = 512;
/// Different events that are remembered for counting.
const REMEMBERED: usize = 2048;
/// `events` namespace of objects without one (nodes).
const DEFAULT_NAMESPACE: &str = "default";

/// One event to write.
#[derive(Debug, Clone)]
pub struct Entry {
    pub about: ObjectReference,
    pub warning: bool,
    pub reason: String,
    pub message: String,
}

/// A handle to the writer.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Entry>,
}

impl Recorder {
    /// Starts the writer.
    #[must_use]
    pub fn start(client: Client, node: String) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(client, node, entries));
        Self { queue }
    }

    pub fn record(&self, entry: Entry) {
        tracing::info!(
            reason = entry.reason,
            object = entry.about.name,
            message = entry.message,
            "event"
        );
        if self.queue.try_send(entry).is_err() {
            tracing::warn!("event dropped: the queue is full");
        }
    }
}

#[derive(Default)]
struct Known {
    names: HashMap<String, (String, i32)>,
    order: VecDeque<String>,
}

impl Known {
    fn remember(&mut self, key: String, name: String, count: i32) {
        if self.names.insert(key.clone(), (name, count)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }
}

async fn write_all(client: Client, node: String, mut entries: mpsc::Receiver<Entry>) {
    let mut known = Known::default();
    while let Some(entry) = entries.recv().await {
        let about = &entry.about;
        let key = format!(
            "{:?}/{:?}/{:?}/{}/{}",
            about.uid, about.name, about.field_path, entry.reason, entry.message
        );
        let namespace = entry.about.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.into());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let now = Timestamp::now();
        if let Some((name, count)) = known.names.get(&key).cloned() {
            let patch = serde_json::json!({"count": count + 1, "lastTimestamp": Time(now)});
            let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
            if patched.is_ok() {
                known.remember(key, name, count + 1);
                continue;
            }
        }
        let event = new_event(&entry, &namespace, &node, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => known.remember(key, name, 1),
            Err(error) => tracing::debug!(%error, "event not written"),
        }
    }
}

fn new_event(entry: &Entry, namespace: &str, node: &str, now: Timestamp) -> Event {
    let about = entry.about.name.clone().unwrap_or_default();
    let nanos = now.as_nanosecond();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{about}.{nanos:x}")),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: entry.about.clone(),
        type_: Some(if entry.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(entry.reason.clone()),
        message: Some(entry.message.clone()),
        source: Some(EventSource {
            component: Some("kubelet".into()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}
