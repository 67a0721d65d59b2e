//! What is collected of one request while it runs. A task-local, so that any part of the server can add to it.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use access::User;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::{Level, Stage, body_of, policy::Outcome};
use crate::route::Target;

/// Largest annotation, as upstream's events are bounded by the webhook's batch.
const ANNOTATION_BYTES_MAX: usize = 8 << 10;

/// One request.
pub struct Record {
    pub id: String,
    pub outcome: Outcome,
    pub uri: String,
    pub verb: String,
    pub user: User,
    pub source: Option<String>,
    pub user_agent: String,
    pub target: Target,
    pub received: String,
    pub state: Mutex<State>,
}

/// What is learnt on the way.
#[derive(Default)]
pub struct State {
    pub impersonated: Option<User>,
    pub request: Option<Value>,
    pub response: Option<Value>,
    pub code: Option<u16>,
    pub annotations: BTreeMap<String, String>,
}

/// What the present task knows of its request: who sent it, and its record when it is audited.
#[derive(Clone, Default)]
struct Present {
    source: Option<String>,
    record: Option<Arc<Record>>,
}

tokio::task_local! {
    static PRESENT: Present;
}

/// Runs a request's work with its source address and record at hand.
pub fn scope<F: Future>(
    source: Option<String>,
    record: Option<Arc<Record>>,
    work: F,
) -> impl Future<Output = F::Output> {
    PRESENT.scope(Present { source, record }, work)
}

fn present() -> Option<Arc<Record>> {
    PRESENT.try_with(|present| present.record.clone()).ok().flatten()
}

/// The address that the present request came from.
#[must_use]
pub fn source() -> Option<String> {
    PRESENT.try_with(|present| present.source.clone()).ok().flatten()
}

/// Adds an annotation to the present request's event. The first value of a key stays.
pub fn annotate(key: &str, value: impl Into<String>) {
    let Some(record) = present() else { return };
    let mut value: String = value.into();
    if value.len() > ANNOTATION_BYTES_MAX {
        let end = (0..=ANNOTATION_BYTES_MAX).rev().find(|at| value.is_char_boundary(*at));
        value.truncate(end.unwrap_or(0));
    }
    record.state.lock().annotations.entry(key.to_owned()).or_insert(value);
}

/// The present request's body, kept when the policy wants it.
pub fn request_body(bytes: &Bytes) {
    let Some(record) = present() else { return };
    if record.outcome.level >= Level::Request {
        record.state.lock().request = body_of(bytes);
    }
}

impl Record {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    #[must_use]
    pub fn omits(&self, stage: Stage) -> bool {
        self.outcome.omit_stages.contains(&stage)
    }

    /// Whether the answer's body is needed: for the event itself, or for the name and status in it.
    #[must_use]
    pub fn wants_response(&self) -> bool {
        let streams = self.target.subresource == "log";
        !streams && (self.outcome.level >= Level::RequestResponse || self.verb == "create")
    }

    pub fn respond(&self, code: u16, body: Option<&Bytes>) {
        let mut state = self.state.lock();
        state.code = Some(code);
        state.response = body.and_then(body_of);
    }
}
