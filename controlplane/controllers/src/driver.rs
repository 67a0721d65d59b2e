//! Drives reconciliations: one at a time per key, several keys at once, retries with backoff. The one retry policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::{Duration, Instant},
};

use client::{Informer, Recorder, Severity};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use kube::{Client, Resource};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, time::DelayQueue};
use tracing::{debug, warn};

use crate::{Error, Informers, metrics::QueueMetrics, ownership::Kept};

/// Reconciliations of one controller at a time.
const CONCURRENT_MAX: usize = 16;
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long an own write may take to come back through a watch.
const SEEN_DEADLINE: Duration = Duration::from_secs(10);

/// What all controllers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub client: Client,
    pub informers: Informers,
    pub recorder: Recorder,
    pub shutdown: CancellationToken,
}

impl Shared {
    /// Records a normal event.
    pub(crate) fn normal<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        note: &str,
    ) {
        self.recorder.record(&object.object_ref(&()), Severity::Normal, reason, note);
    }

    /// Records a warning.
    pub(crate) fn warning<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        note: &str,
    ) {
        self.recorder.record(&object.object_ref(&()), Severity::Warning, reason, note);
    }
}

/// An object to look at. Cluster-scoped ones have an empty namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub namespace: String,
    pub name: String,
}

/// How a reconciliation ended well: look again after some time, or when something changes.
pub(crate) type Again = Option<Duration>;

/// Runs a controller until shutdown.
pub(crate) async fn drive<F, R>(
    name: &'static str,
    shared: &Shared,
    wakes: Vec<BoxStream<'static, Key>>,
    reconcile: F,
) where
    F: Fn(Key) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Again, Error>> + Send + 'static,
{
    drive_boxed(name, shared, wakes, Box::new(move |key| reconcile(key).boxed())).await;
}

type Reconcile = dyn Fn(Key) -> BoxFuture<'static, Result<Again, Error>> + Send + Sync;

/// One body for all controllers: the compiler makes it once.
async fn drive_boxed(
    name: &'static str,
    shared: &Shared,
    wakes: Vec<BoxStream<'static, Key>>,
    reconcile: Box<Reconcile>,
) {
    // Who plans with half of the picture creates what is there and evicts from nodes that are fine. The wakes are subscribed already,
    // so nothing that happens meanwhile is missed.
    if !shared.informers.ready(&shared.shutdown).await {
        return;
    }
    let mut wakes = futures::stream::select_all(wakes);
    let metrics = QueueMetrics::of(name);
    let mut queue = Queue::default();
    let mut delays: DelayQueue<Key> = DelayQueue::new();
    let mut running: JoinSet<(Key, Result<Again, Error>)> = JoinSet::new();
    loop {
        while running.len() < CONCURRENT_MAX {
            let Some(key) = queue.start() else { break };
            let metrics = metrics.clone();
            let work = reconcile(key.clone());
            running.spawn(async move {
                let start = Instant::now();
                let outcome = work.await;
                metrics.worked(start.elapsed());
                (key, outcome)
            });
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            // Ended ones first: their keys may be waiting again.
            Some(ended) = running.join_next(), if !running.is_empty() => match ended {
                Ok((key, outcome)) => {
                    if outcome.is_err() {
                        metrics.retries.inc();
                    }
                    if let Some(after) = queue.finish(name, &key, outcome) {
                        delays.insert(key, after);
                    }
                }
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_cancelled) => return,
            },
            Some(due) = delays.next(), if !delays.is_empty() => queue.add(due.into_inner()),
            Some(key) = wakes.next() => {
                metrics.adds.inc();
                queue.add(key);
            }
        }
        metrics.depth.set(i64::try_from(queue.waiting.len()).unwrap_or(i64::MAX));
    }
}

/// Keys that wait, run, and failed.
#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeSet<Key>,
    running: BTreeSet<Key>,
    failures: BTreeMap<Key, u32>,
}

impl Queue {
    fn add(&mut self, key: Key) {
        self.waiting.insert(key);
    }

    /// The next key that does not run already.
    fn start(&mut self) -> Option<Key> {
        let key = self.waiting.iter().find(|key| !self.running.contains(key))?.clone();
        self.waiting.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// Takes the outcome; returns when to look again.
    fn finish(&mut self, name: &str, key: &Key, outcome: Result<Again, Error>) -> Again {
        self.running.remove(key);
        match outcome {
            Ok(again) => {
                self.failures.remove(key);
                again
            }
            Err(error) if error.is_namespace_terminating() => {
                let (namespace, object) = (&key.namespace, &key.name);
                debug!(controller = name, namespace, object, "its namespace is being deleted");
                self.failures.remove(key);
                None
            }
            Err(error) => {
                let count = self.failures.entry(key.clone()).or_default();
                *count += 1;
                let (namespace, object) = (&key.namespace, &key.name);
                if error.is_conflict() {
                    debug!(controller = name, namespace, object, "conflict; tries again");
                } else {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        controller = name,
                        namespace,
                        object,
                        error,
                        tries = *count,
                        "failed; tries again"
                    );
                }
                Some(RETRY_FIRST.saturating_mul(1 << (*count).min(16)).min(RETRY_MAX))
            }
        }
    }
}

/// Waits until the informer shows one's own write, so that the next plan is not made from the past.
pub(crate) async fn wait_until<K: Kept>(
    informer: &Informer<K>,
    test: impl Fn(&Informer<K>) -> bool,
) -> Result<(), Error> {
    let mut changes = informer.changes();
    let seen = async {
        while !test(informer) {
            if changes.next().await.is_none() {
                return;
            }
        }
    };
    tokio::time::timeout(SEEN_DEADLINE, seen).await.map_err(|_late| Error::NotSeen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: String::new(), name: name.into() }
    }

    #[test]
    fn a_key_never_runs_twice_at_once_and_is_not_forgotten() {
        let mut queue = Queue::default();
        queue.add(key("a"));
        assert_eq!(queue.start(), Some(key("a")));
        queue.add(key("a"));
        assert_eq!(queue.start(), None, "it runs");
        assert_eq!(queue.finish("test", &key("a"), Ok(None)), None);
        assert_eq!(queue.start(), Some(key("a")), "the wake during the run counts");
    }

    #[test]
    fn failures_back_off_and_a_success_forgets_them() {
        let mut queue = Queue::default();
        let mut fail = || queue.finish("test", &key("a"), Err(Error::NoPodRange));
        let (first, second) = (fail(), fail());
        assert!(first < second);
        assert_eq!(queue.finish("test", &key("a"), Ok(None)), None);
        assert_eq!(queue.finish("test", &key("a"), Err(Error::NoPodRange)), first);
    }
}
