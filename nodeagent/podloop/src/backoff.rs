//! Exponential back-off as the kubelet's (`client-go/util/flowcontrol/backoff.go`): 10 s, doubling to 5 min,
//! forgotten when nothing happened for twice the maximum.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// First delay.
pub const INITIAL_SECONDS: i64 = 10;
/// Longest delay.
pub const MAX_SECONDS: i64 = 300;
/// A restart later than this after the previous one starts from nothing.
const FORGET_SECONDS: i64 = 2 * MAX_SECONDS;

/// The delay of one container's restarts, or of one image's pulls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    entry: Option<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    seconds: i64,
    updated: Timestamp,
}

impl Backoff {
    /// When the next try may happen, given when the last one failed. The first is at once.
    #[must_use]
    pub fn due(&self, failed: Timestamp) -> Timestamp {
        match &self.entry {
            Some(entry) if !entry.forgotten(failed) => {
                failed + SignedDuration::from_secs(entry.seconds)
            }
            Some(_) | None => failed,
        }
    }

    /// Notes a try at `now`; the next delay grows.
    pub fn note(&mut self, now: Timestamp) {
        let seconds = match &self.entry {
            Some(entry) if !entry.forgotten(now) => (entry.seconds * 2).min(MAX_SECONDS),
            Some(_) | None => INITIAL_SECONDS,
        };
        self.entry = Some(Entry { seconds, updated: now });
    }

    /// The present delay in seconds, for messages.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.entry.as_ref().map_or(0, |entry| entry.seconds)
    }

    /// "10s", "1m20s", "5m0s": Go's `time.Duration` text, which users know from `kubectl describe`.
    #[must_use]
    pub fn text(&self) -> String {
        let seconds = self.seconds();
        match seconds / 60 {
            0 => format!("{seconds}s"),
            minutes => format!("{minutes}m{}s", seconds % 60),
        }
    }

    pub fn reset(&mut self) {
        self.entry = None;
    }
}

impl Entry {
    fn forgotten(&self, at: Timestamp) -> bool {
        at.duration_since(self.updated).as_secs() > FORGET_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_maximum_and_is_forgotten() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut backoff = Backoff::default();
        let mut delays = Vec::new();
        for _ in 0..8 {
            let due = backoff.due(now);
            delays.push(due.duration_since(now).as_secs());
            now = due;
            backoff.note(now);
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.text(), "5m0s");
        let later = now + SignedDuration::from_secs(FORGET_SECONDS + 1);
        assert_eq!(backoff.due(later), later);
        backoff.note(later);
        assert_eq!(backoff.text(), "10s");
    }
}
