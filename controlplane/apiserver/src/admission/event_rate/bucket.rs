//! Token buckets by key; the one that was used longest ago goes when there are too many. Pure but for its lock.

use std::{collections::HashMap, time::Instant};

use parking_lot::Mutex;

use super::config::Limit;

/// The buckets of one limit.
#[derive(Debug)]
pub struct Buckets {
    per_second: f64,
    burst: f64,
    buckets_max: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    seen: Instant,
}

impl Buckets {
    #[must_use]
    pub fn new(limit: &Limit) -> Self {
        Self {
            per_second: f64::from(limit.qps),
            burst: f64::from(limit.burst),
            buckets_max: limit.cache_size,
            buckets: Mutex::default(),
        }
    }

    /// Takes one token; false when none is left.
    pub fn take(&self, key: &str, now: Instant) -> bool {
        let mut buckets = self.buckets.lock();
        if !buckets.contains_key(key) && buckets.len() >= self.buckets_max {
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.seen);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                buckets.remove(&oldest);
            }
        }
        let new = Bucket { left: self.burst, seen: now };
        let bucket = buckets.entry(key.to_owned()).or_insert(new);
        let seconds = now.saturating_duration_since(bucket.seen).as_secs_f64();
        bucket.left = (bucket.left + seconds * self.per_second).min(self.burst);
        bucket.seen = now;
        let enough = bucket.left >= 1.0;
        if enough {
            bucket.left -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::config::Sort, *};

    fn buckets(qps: u32, burst: u32, cache_size: usize) -> Buckets {
        Buckets::new(&Limit { sort: Sort::Namespace, qps, burst, cache_size })
    }

    #[test]
    fn a_burst_ends_and_time_refills() {
        let (buckets, start) = (buckets(2, 5, 10), Instant::now());
        assert_eq!((0..20).filter(|_| buckets.take("a", start)).count(), 5);
        assert!(buckets.take("b", start), "another key has its own");
        let later = start + Duration::from_secs(1);
        assert_eq!((0..20).filter(|_| buckets.take("a", later)).count(), 2);
    }

    #[test]
    fn buckets_are_bounded() {
        let (buckets, start) = (buckets(1, 1, 3), Instant::now());
        for n in 0..10u64 {
            assert!(buckets.take(&n.to_string(), start + Duration::from_millis(n)));
        }
        assert_eq!(buckets.buckets.lock().len(), 3);
    }
}
