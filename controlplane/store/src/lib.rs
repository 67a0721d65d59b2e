//! The cluster's memory: an ordered key-value store with revisions.
//!
//! Owns durability, revisions, history and compaction. Knows nothing of Kubernetes kinds: keys are paths
//! (`/<logical cluster>/<group>/<resource>/<namespace>/<name>`), values are bytes.
//! One trait, [`Store`]; every implementation passes `conformance`.

pub mod conformance;
pub mod embedded;
pub mod etcd;

use std::{collections::HashSet, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// Guards, and writes, of one transaction at most (etcd's `--max-txn-ops`).
pub const WRITES_MAX: usize = 128;

/// A point in the store's history. Every transaction that changes something gets the next one; 0 is before
/// the first. A transaction that changes nothing (no writes, or deletions of absent keys) commits at the newest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One key at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Bytes,
    /// The revision that created the key (after its last deletion).
    pub created: Revision,
    /// The revision that last wrote it.
    pub modified: Revision,
}

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// Every key that starts with this.
    pub prefix: String,
    /// Keys strictly greater than this (paging); must start with `prefix`.
    pub after: Option<String>,
    /// At most this many entries; 0 is no limit.
    pub limit: usize,
    /// As of this revision; `None` is now.
    pub at: Option<Revision>,
}

/// A consistent piece of a range.
#[derive(Debug, Clone)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// The revision that the whole page was read at.
    pub revision: Revision,
    /// Keys in the range behind the last entry.
    pub remaining: u64,
}

/// A condition on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    Absent(String),
    /// The key exists and was last written at exactly this revision.
    Unchanged(String, Revision),
}

/// One effect of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put(String, Bytes),
    Delete(String),
}

/// All guards hold and all writes happen, or nothing does.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    pub guards: Vec<Guard>,
    pub writes: Vec<Write>,
}

impl Transaction {
    /// Refuses what no implementation accepts: more than [`WRITES_MAX`] guards or writes, or two writes to one key
    /// (which of them a watcher should see has no answer).
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse =
            |operation, text: String| Err(Error::Backend { operation, source: text.into() });
        if self.guards.len() > WRITES_MAX || self.writes.len() > WRITES_MAX {
            return refuse("accept a transaction", format!("more than {WRITES_MAX} operations"));
        }
        let mut keys = HashSet::new();
        match self.writes.iter().find(|write| !keys.insert(write.key())) {
            Some(twice) => {
                refuse("accept a transaction", format!("{} is written twice", twice.key()))
            }
            None => Ok(()),
        }
    }
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

impl Guard {
    /// The key that is looked at.
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::Unchanged(key, _) => key,
        }
    }

    /// Whether the condition holds for the present entry of its key.
    pub(crate) fn holds(&self, present: Option<&Entry>) -> bool {
        match self {
            Self::Absent(_) => present.is_none(),
            Self::Unchanged(_, at) => present.is_some_and(|entry| entry.modified == *at),
        }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Durable at this revision.
    Committed(Revision),
    /// A guard failed; the present entries of the guarded keys (`None` where absent), in the guards' order.
    Refused(Vec<Option<Entry>>),
}

/// One change, as a watcher sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: Arc<str>,
    pub revision: Revision,
    pub kind: ChangeKind,
    /// The entry before the change; `None` for a creation.
    pub previous: Option<Entry>,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    Put { value: Bytes, created: Revision },
    Delete,
}

/// What a watch delivers. All changes of one revision come in one batch.
#[derive(Debug, Clone)]
pub enum WatchEvent {
    Changes {
        revision: Revision,
        changes: Vec<Change>,
    },
    /// Nothing in the range changed up to this revision.
    Progress(Revision),
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("revision {asked} was compacted, the oldest is {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    #[error("revision {asked} is in the future, the newest is {newest}")]
    FutureRevision { asked: Revision, newest: Revision },
    #[error("the watcher fell behind and was cut")]
    SlowWatcher,
    #[error("failed to {operation}")]
    Backend { operation: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the store is closed")]
    Closed,
}

/// The store's contract.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The entry of one key, now or as of a revision.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, Error>;
    async fn range(&self, range: Range) -> Result<Page, Error>;
    /// Returns only when the outcome is durable.
    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error>;
    /// Every change to keys under `prefix` with a revision greater than `after`, in order, without gaps.
    /// An error is the last item: `Compacted` (read again), `SlowWatcher`, `Closed`, or the backend's.
    /// `Progress` comes after the catch-up and whenever other keys changed (embedded: at once; etcd: at the server's
    /// notify interval). Fails with `FutureRevision` when `after` is newer than the store.
    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error>;
    /// The newest committed revision (linearizable).
    async fn revision(&self) -> Result<Revision, Error>;
    /// Forgets history before `revision`: reads at it and watches after it still work, older ones get `Compacted`.
    /// What is current stays. Never blocks writes; does nothing when that history is already gone.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;
    /// Writes a consistent copy of everything current to `path`; restored by opening it with [`embedded::Embedded`].
    async fn backup(&self, path: &std::path::Path) -> Result<Revision, Error>;
}
