//! EventRateLimit: one namespace's events cannot fill the store. A token bucket per namespace; the oldest bucket goes
//! when there are too many.

use std::{collections::HashMap, time::Instant};

use api::{Reason, Status};
use parking_lot::Mutex;
use serde_json::Value;

use super::request::Request;

/// Events per second that a namespace may write for long.
const PER_SECOND: f64 = 200.0;
/// Events that a namespace may write at once.
const BURST: f64 = 2000.0;
/// Namespaces that are remembered.
const BUCKETS_MAX: usize = 4096;

/// What is left to each namespace.
#[derive(Debug, Default)]
pub struct Buckets(Mutex<HashMap<String, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    seen: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.seen).as_secs_f64();
        self.left = (self.left + seconds * PER_SECOND).min(BURST);
        self.seen = now;
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

impl Buckets {
    fn take(&self, namespace: &str, now: Instant) -> bool {
        let mut buckets = self.0.lock();
        if let Some(bucket) = buckets.get_mut(namespace) {
            return bucket.take(now);
        }
        if buckets.len() >= BUCKETS_MAX {
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.seen);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                buckets.remove(&oldest);
            }
        }
        let mut bucket = Bucket { left: BURST, seen: now };
        let enough = bucket.take(now);
        buckets.insert(namespace.to_owned(), bucket);
        enough
    }
}

pub fn validate(request: &Request<'_>, _event: &Value) -> Result<(), Status> {
    let is_event = request.is("", "events") || request.is("events.k8s.io", "events");
    let writes = request.is_create() || request.is_update();
    if !is_event || !writes || request.dry_run {
        return Ok(());
    }
    if request.call.app.admission.events.take(&request.namespace, Instant::now()) {
        return Ok(());
    }
    let message = format!("limit reached on type Namespace for key {}", request.namespace);
    Err(Status { retry_after_seconds: Some(1), ..Status::new(Reason::TooManyRequests, message) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_ends_and_time_refills() {
        let (buckets, start) = (Buckets::default(), Instant::now());
        let taken = (0..5000).filter(|_| buckets.take("a", start)).count();
        assert_eq!(taken, BURST as usize);
        assert!(buckets.take("b", start), "another namespace has its own");
        assert!(buckets.take("a", start + Duration::from_secs(1)));
    }

    #[test]
    fn buckets_are_bounded() {
        let (buckets, start) = (Buckets::default(), Instant::now());
        for n in 0..BUCKETS_MAX + 10 {
            assert!(buckets.take(&n.to_string(), start));
        }
        assert_eq!(buckets.0.lock().len(), BUCKETS_MAX);
    }
}
