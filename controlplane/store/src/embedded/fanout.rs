//! Who watches, and what each is told after a durable commit. Never waits for a watcher.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{mpsc, watch};

use super::write::Commit;
use crate::{Revision, WatchEvent};

/// Batches of changes that may wait for one watcher; one more and it is cut.
pub(super) const WATCHER_QUEUE_MAX: usize = 4096;

/// The list of watchers.
#[derive(Debug)]
pub(super) struct Fanout {
    watchers: Mutex<Watchers>,
    published: watch::Sender<Revision>,
}

#[derive(Debug, Default)]
struct Watchers {
    all: Vec<Watcher>,
    closed: bool,
}

#[derive(Debug)]
struct Watcher {
    prefix: String,
    queue: mpsc::Sender<WatchEvent>,
    cut: Arc<AtomicBool>,
}

/// A watcher's end.
#[derive(Debug)]
pub(super) struct Subscription {
    pub queue: mpsc::Receiver<WatchEvent>,
    /// Set before the queue's end when the watcher was too slow.
    pub cut: Arc<AtomicBool>,
    /// Everything up to here is in the queue or was taken from it. Read it before the queue.
    pub published: watch::Receiver<Revision>,
}

impl Fanout {
    pub fn new(revision: Revision) -> Self {
        Self { watchers: Mutex::default(), published: watch::Sender::new(revision) }
    }

    /// Every commit after the returned revision arrives in the subscription; those before are in the database.
    pub fn subscribe(&self, prefix: &str) -> (Subscription, Revision) {
        let (sender, queue) = mpsc::channel(WATCHER_QUEUE_MAX);
        let cut = Arc::new(AtomicBool::new(false));
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if !watchers.closed {
            let prefix = prefix.to_owned();
            watchers.all.push(Watcher { prefix, queue: sender, cut: Arc::clone(&cut) });
        }
        // Under the lock: publish changes this value under it too.
        let published = self.published.subscribe();
        let revision = *published.borrow();
        (Subscription { queue, cut, published }, revision)
    }

    /// Tells every watcher, in order; called by the writer only.
    pub fn publish(&self, commits: &[Commit], newest: Revision) {
        if commits.is_empty() {
            return;
        }
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.all.retain(|watcher| commits.iter().all(|commit| watcher.tell(commit)));
        self.published.send_replace(newest);
    }

    /// Ends every watch.
    pub fn close(&self) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.closed = true;
        watchers.all.clear();
    }
}

impl Watcher {
    /// False when the watcher is gone or was cut.
    fn tell(&self, commit: &Commit) -> bool {
        let mine = |key: &str| key.starts_with(&self.prefix);
        let changes: Vec<_> =
            commit.changes.iter().filter(|change| mine(&change.key)).cloned().collect();
        if changes.is_empty() {
            return !self.queue.is_closed();
        }
        match self.queue.try_send(WatchEvent::Changes { revision: commit.revision, changes }) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.cut.store(true, Ordering::Release);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}
