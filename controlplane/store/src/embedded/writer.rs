//! The one thread that writes: takes what is queued, makes it one durable commit of the engine, tells watchers, answers.
//!
//! ```text
//! queue ─▶ batch ─▶ apply each (own revision) ─▶ trim a little history ─▶ fsync ─▶ watchers ─▶ answers
//! ```

use std::sync::Arc;

use redb::Database;
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};

use super::{
    HistoryBound,
    fanout::Fanout,
    read::Raw,
    write::{Batch, Commit, Counters},
};
use crate::{Error, Outcome, Revision, Transaction, Write};

/// Requests that may wait; a full queue makes callers wait.
pub(super) const QUEUE_MAX: usize = 4096;
/// Requests in one durable commit.
const BATCH_REQUESTS_MAX: usize = 1024;
/// Bytes of values after which a batch takes no more requests.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Rows of history that one batch removes: bounds what compaction adds to a write's latency.
const TRIM_ROWS: usize = 512;
/// Revisions beyond the bound before history is cut, so that it is cut in pieces and not at every write.
const SLACK_REVISIONS: u64 = 1024;

/// What callers ask for.
pub(super) enum Command {
    Commit { transaction: Transaction, reply: oneshot::Sender<Result<Outcome, Error>> },
    Compact { revision: Revision, reply: oneshot::Sender<Result<(), Error>> },
}

/// How a command went, to be told once the batch is durable.
enum Done {
    Commit(Outcome),
    Compact(Result<(), Error>),
}

pub(super) struct Writer {
    pub database: Arc<Database>,
    pub fanout: Arc<Fanout>,
    pub commands: mpsc::Receiver<Command>,
    pub counters: Counters,
    pub bound: HistoryBound,
}

/// A batch that is on disk.
struct Written {
    done: Vec<Done>,
    commits: Vec<Commit>,
    /// No history is left to remove.
    trimmed: bool,
}

impl Writer {
    /// Runs until every sender is gone and the queue is empty.
    pub fn run(mut self) {
        let mut trimmed = false;
        while let Some(batch) = self.next_batch(trimmed) {
            match self.write(&batch) {
                Ok(written) => {
                    trimmed = written.trimmed;
                    self.fanout.publish(&written.commits, Revision(self.counters.revision));
                    batch
                        .into_iter()
                        .zip(written.done)
                        .for_each(|(command, done)| command.answer(done));
                }
                Err(error) => {
                    tracing::error!(%error, "failed to write a batch");
                    // Without a new request there is nothing to try again for.
                    trimmed = true;
                    let error = Arc::new(error);
                    batch.into_iter().for_each(|command| command.fail(&error));
                }
            }
        }
        self.fanout.close();
    }

    /// Waits for work, unless history is left to trim; `None` when the store is closed.
    fn next_batch(&mut self, trimmed: bool) -> Option<Vec<Command>> {
        let mut batch = Vec::new();
        if trimmed {
            batch.push(self.commands.blocking_recv()?);
        }
        let mut bytes = batch.first().map_or(0, Command::bytes);
        while batch.len() < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX {
            match self.commands.try_recv() {
                Ok(command) => {
                    bytes += command.bytes();
                    batch.push(command);
                }
                Err(TryRecvError::Disconnected) if batch.is_empty() => return None,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        Some(batch)
    }

    /// Makes the batch durable. Nothing of it is, if this fails.
    fn write(&mut self, commands: &[Command]) -> Raw<Written> {
        let transaction = self.database.begin_write()?;
        let mut batch = Batch::open(&transaction, self.counters)?;
        let mut written = Written { done: Vec::new(), commits: Vec::new(), trimmed: false };
        for command in commands {
            written.done.push(match command {
                Command::Commit { transaction, .. } => {
                    let (outcome, commit) = batch.apply(transaction)?;
                    written.commits.extend(commit);
                    Done::Commit(outcome)
                }
                Command::Compact { revision, .. } => {
                    Done::Compact(mark_oldest(&mut batch.counters, *revision))
                }
            });
        }
        if let Some(oldest) = bounded(batch.counters, self.bound) {
            batch.counters.oldest = oldest;
        }
        if batch.counters.past_bytes > self.bound.bytes {
            batch.counters.oldest = batch.revision_after(TRIM_ROWS)?;
        }
        written.trimmed = batch.trim(TRIM_ROWS)? && batch.counters.past_bytes <= self.bound.bytes;
        let counters = batch.seal()?;
        transaction.commit()?;
        self.counters = counters;
        Ok(written)
    }
}

impl Command {
    fn bytes(&self) -> usize {
        let size = |write: &Write| match write {
            Write::Put(key, value) => key.len() + value.len(),
            Write::Delete(key) => key.len(),
        };
        match self {
            Self::Commit { transaction, .. } => transaction.writes.iter().map(size).sum(),
            Self::Compact { .. } => 0,
        }
    }

    /// A caller that went away has no use for its answer.
    fn answer(self, done: Done) {
        match (self, done) {
            (Self::Commit { reply, .. }, Done::Commit(outcome)) => drop(reply.send(Ok(outcome))),
            (Self::Compact { reply, .. }, Done::Compact(result)) => drop(reply.send(result)),
            _ => unreachable!("write answers each command by its kind"),
        }
    }

    fn fail(self, error: &Arc<redb::Error>) {
        let error = Error::Backend { operation: "write a batch", source: error.to_string().into() };
        match self {
            Self::Commit { reply, .. } => drop(reply.send(Err(error))),
            Self::Compact { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// Moves the oldest readable revision forward.
fn mark_oldest(counters: &mut Counters, revision: Revision) -> Result<(), Error> {
    if revision.0 > counters.revision {
        let newest = Revision(counters.revision);
        return Err(Error::FutureRevision { asked: revision, newest });
    }
    counters.oldest = counters.oldest.max(revision.0);
    Ok(())
}

/// The new oldest revision, when history has grown beyond its bound.
fn bounded(counters: Counters, bound: HistoryBound) -> Option<u64> {
    let length = counters.revision - counters.oldest;
    (length > bound.revisions.saturating_add(SLACK_REVISIONS))
        .then(|| counters.revision - bound.revisions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_cut_in_pieces() {
        let bound = HistoryBound { revisions: 100, bytes: u64::MAX };
        let at = |revision, oldest| bounded(Counters { revision, oldest, past_bytes: 0 }, bound);
        assert_eq!(at(100, 0), None);
        assert_eq!(at(100 + SLACK_REVISIONS, 0), None);
        assert_eq!(at(101 + SLACK_REVISIONS, 0), Some(1 + SLACK_REVISIONS));
        assert_eq!(at(5000, 4990), None);
    }

    #[test]
    fn the_oldest_revision_only_grows() {
        let mut counters = Counters { revision: 10, oldest: 5, past_bytes: 0 };
        assert!(mark_oldest(&mut counters, Revision(3)).is_ok());
        assert_eq!(counters.oldest, 5);
        assert!(mark_oldest(&mut counters, Revision(10)).is_ok());
        assert_eq!(counters.oldest, 10);
        assert!(matches!(
            mark_oldest(&mut counters, Revision(11)),
            Err(Error::FutureRevision { .. })
        ));
    }
}
