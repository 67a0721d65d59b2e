//! Waiting pods: by priority, then age; those that did not fit wait for a change or for their backoff.
//!
//! ```text
//! add ──▶ active ──pop──▶ (cycle) ──fits──▶ gone
//!           ▲                │ no fit
//!           │ wake, backoff over ▼
//!           └────────── waiting (until an event that may help, or the deadline)
//! ```

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod;

/// Backoff after the first failed try, doubling (upstream's `podInitialBackoffSeconds`, `podMaxBackoffSeconds`).
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A pod that no event woke is tried again after this long (upstream's five minutes).
const STALE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
struct Waiting {
    pod: Arc<Pod>,
    attempts: u32,
    /// Not before this, even when woken.
    not_before: Instant,
    /// At the latest then.
    at_latest: Instant,
    woken: bool,
}

/// The scheduling queue.
#[derive(Debug, Default)]
pub struct Queue {
    /// Highest priority first, then oldest, then UID.
    active: BTreeMap<(i64, String, String), (Arc<Pod>, u32)>,
    waiting: BTreeMap<String, Waiting>,
}

impl Queue {
    /// A pod that needs a node appeared or changed.
    pub fn add(&mut self, pod: Arc<Pod>) {
        let uid = uid(&pod);
        let attempts = self.waiting.remove(&uid).map_or(0, |waiting| waiting.attempts);
        self.activate(pod, attempts);
    }

    /// How many are due, and how many wait.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.active.len(), self.waiting.len())
    }

    /// Pods that wait here.
    #[must_use]
    pub fn uids(&self) -> Vec<String> {
        let active = self.active.values().filter_map(|(pod, _)| pod.metadata.uid.clone());
        active.chain(self.waiting.keys().cloned()).collect()
    }

    /// A pod is gone or has a node.
    pub fn remove(&mut self, uid: &str) {
        self.waiting.remove(uid);
        self.active.retain(|(_, _, queued), _| queued != uid);
    }

    /// The next pod to try, with the number of tries before.
    pub fn pop(&mut self) -> Option<(Arc<Pod>, u32)> {
        self.active.pop_first().map(|(_, entry)| entry)
    }

    /// A pod did not fit.
    pub fn put_back(&mut self, pod: Arc<Pod>, attempts: u32, now: Instant) {
        let backoff = BACKOFF_FIRST.saturating_mul(1 << attempts.min(8)).min(BACKOFF_MAX);
        let waiting = Waiting {
            pod: Arc::clone(&pod),
            attempts: attempts + 1,
            not_before: now + backoff,
            at_latest: now + STALE,
            woken: false,
        };
        self.waiting.insert(uid(&pod), waiting);
    }

    /// Something changed that may let waiting pods fit.
    pub fn wake(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.woken = true;
        }
    }

    /// Moves what is due to the active part. Returns when the next one is.
    pub fn advance(&mut self, now: Instant) -> Option<Instant> {
        let due: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.due() <= now)
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in due {
            if let Some(waiting) = self.waiting.remove(&uid) {
                self.activate(waiting.pod, waiting.attempts);
            }
        }
        self.waiting.values().map(Waiting::due).min()
    }

    fn activate(&mut self, pod: Arc<Pod>, attempts: u32) {
        let uid = uid(&pod);
        self.active.retain(|(_, _, queued), _| *queued != uid);
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let created = pod.metadata.creation_timestamp.as_ref();
        let age = created.map(|time| time.0.to_string()).unwrap_or_default();
        self.active.insert((-i64::from(priority), age, uid), (pod, attempts));
    }
}

impl Waiting {
    fn due(&self) -> Instant {
        if self.woken { self.not_before } else { self.at_latest }
    }
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn priority_goes_first_and_a_misfit_waits_for_an_event_and_its_backoff() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let mut urgent = pod("urgent", "1", "1Gi");
        urgent.spec.get_or_insert_default().priority = Some(1000);
        queue.add(Arc::new(pod("plain", "1", "1Gi")));
        queue.add(Arc::new(urgent));
        let (first, attempts) = queue.pop().expect("two are queued");
        assert_eq!((first.metadata.name.as_deref(), attempts), (Some("urgent"), 0));
        queue.put_back(first, 0, now);
        assert_eq!(queue.advance(now + BACKOFF_FIRST), Some(now + STALE), "no event yet");
        queue.wake();
        assert_eq!(queue.advance(now), Some(now + BACKOFF_FIRST));
        assert_eq!(queue.advance(now + BACKOFF_FIRST), None);
        let (again, attempts) = queue.pop().expect("it is back");
        assert_eq!((again.metadata.name.as_deref(), attempts), (Some("urgent"), 1));
        queue.remove("plain");
        assert!(queue.pop().is_none());
    }
}
