//! How much may be sent on a stream.
//!
//! The Go library on the other side of every kubectl neither announces windows nor updates them: a sender that
//! enforced the initial 64 KiB would wait forever. So windows are counted from the start but hold only once the peer
//! has shown, by an update or a setting, that it takes part; until then TCP's own flow control does the work.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Initial window of both directions until a setting says otherwise, in bytes (draft 3.1, section 2.6.8).
pub(super) const INITIAL_BYTES: u32 = 64 << 10;

/// What one stream may still send.
pub(super) struct SendWindow {
    /// Shared by all streams of a connection.
    is_enforced: Arc<AtomicBool>,
    available: Mutex<i64>,
    changed: Notify,
}

impl SendWindow {
    pub(super) fn new(is_enforced: Arc<AtomicBool>, initial: u32) -> Self {
        Self { is_enforced, available: Mutex::new(i64::from(initial)), changed: Notify::new() }
    }

    /// Adds to what may be sent (the peer's update, or a change of the initial window).
    pub(super) fn add(&self, delta: i64) {
        let mut available = self.available.lock();
        *available = available.saturating_add(delta);
        drop(available);
        self.changed.notify_waiters();
    }

    /// Waits until something may be sent; returns how much of `wanted` (more than 0) and counts it as sent.
    pub(super) async fn take(&self, wanted: usize) -> usize {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = self.try_take(wanted) {
                return taken;
            }
            changed.await;
        }
    }

    fn try_take(&self, wanted: usize) -> Option<usize> {
        let mut available = self.available.lock();
        let allowed = if self.is_enforced.load(Ordering::Acquire) {
            usize::try_from(*available).unwrap_or(0).min(wanted)
        } else {
            wanted
        };
        if allowed == 0 {
            return None;
        }
        *available = available.saturating_sub(i64::try_from(allowed).unwrap_or(i64::MAX));
        Some(allowed)
    }
}
