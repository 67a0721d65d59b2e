//! One watch: first what history holds, then what the writer publishes, without a gap between.

use std::{collections::VecDeque, sync::Arc, sync::atomic::Ordering};

use futures::stream::{self, BoxStream, StreamExt};
use redb::Database;
use tokio::sync::mpsc::error::TryRecvError;

use super::{
    fanout::Subscription,
    read::{Raw, Snapshot, failed},
    run_blocking,
    tables::{LogRow, decode_entry},
};
use crate::{Change, ChangeKind, Error, Revision, WatchEvent};

/// Rows of history read at once.
const CHUNK_ROWS: usize = 512;
/// Bytes of values after which a piece of history ends.
const CHUNK_BYTES: usize = 4 << 20;

/// The state of one watch.
pub(super) struct Feed {
    pub prefix: String,
    pub subscription: Subscription,
    /// Everything up to here was delivered or is in `ready`.
    pub reached: Revision,
    /// Set while history up to this revision is still to be read.
    pub history: Option<(Arc<Database>, Revision)>,
    pub ready: VecDeque<WatchEvent>,
}

impl Feed {
    pub fn into_stream(self) -> BoxStream<'static, Result<WatchEvent, Error>> {
        stream::unfold(Some(self), |feed| async move {
            let mut feed = feed?;
            match feed.next().await {
                Ok(event) => Some((Ok(event), Some(feed))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<WatchEvent, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let Some((database, until)) = &self.history else {
                return self.next_live().await;
            };
            let (database, until) = (Arc::clone(database), *until);
            if self.reached >= until {
                self.history = None;
                return Ok(WatchEvent::Progress(self.reached));
            }
            let (prefix, after) = (self.prefix.clone(), self.reached);
            let piece =
                run_blocking(move || read_history(&database, &prefix, after, until)).await??;
            self.reached = piece.reached;
            self.ready = piece.events;
        }
    }

    async fn next_live(&mut self) -> Result<WatchEvent, Error> {
        loop {
            // Before the queue: what is published by now is in the queue by now.
            let published = *self.subscription.published.borrow_and_update();
            let event = match self.subscription.queue.try_recv() {
                Ok(event) => Some(event),
                Err(TryRecvError::Disconnected) => return Err(self.ended()),
                Err(TryRecvError::Empty) if published > self.reached => {
                    self.reached = published;
                    return Ok(WatchEvent::Progress(published));
                }
                Err(TryRecvError::Empty) => tokio::select! {
                    biased;
                    event = self.subscription.queue.recv() => match event {
                        Some(event) => Some(event),
                        None => return Err(self.ended()),
                    },
                    _ = self.subscription.published.changed() => None,
                },
            };
            if let Some(WatchEvent::Changes { revision, changes }) = event
                && revision > self.reached
            {
                self.reached = revision;
                return Ok(WatchEvent::Changes { revision, changes });
            }
        }
    }

    fn ended(&self) -> Error {
        if self.subscription.cut.load(Ordering::Acquire) {
            Error::SlowWatcher
        } else {
            Error::Closed
        }
    }
}

/// A stretch of history, whole revisions only.
struct Piece {
    events: VecDeque<WatchEvent>,
    reached: Revision,
}

fn read_history(
    database: &Database,
    prefix: &str,
    after: Revision,
    until: Revision,
) -> Result<Piece, Error> {
    let snapshot = Snapshot::take(database)?;
    snapshot.check(Some(after))?;
    read_piece(&snapshot, prefix, after, until).map_err(failed("read history"))
}

fn read_piece(snapshot: &Snapshot, prefix: &str, after: Revision, until: Revision) -> Raw<Piece> {
    let mut piece = Piece { events: VecDeque::new(), reached: after };
    let mut bytes = 0;
    let rows = snapshot.log.range((after.0 + 1, 0)..=(until.0, u32::MAX))?;
    for (count, row) in rows.enumerate() {
        let (at, row) = row?;
        let revision = Revision(at.value().0);
        if revision > piece.reached && (count >= CHUNK_ROWS || bytes >= CHUNK_BYTES) {
            return Ok(piece);
        }
        piece.reached = revision;
        let row = LogRow::decode(row.value());
        if row.key.starts_with(prefix) {
            let change = find_change(snapshot, revision, &row)?;
            bytes += size_of_values(&change);
            push(&mut piece.events, revision, change);
        }
    }
    piece.reached = until;
    Ok(piece)
}

fn push(events: &mut VecDeque<WatchEvent>, at: Revision, change: Change) {
    if let Some(WatchEvent::Changes { revision, changes }) = events.back_mut()
        && *revision == at
    {
        changes.push(change);
    } else {
        events.push_back(WatchEvent::Changes { revision: at, changes: vec![change] });
    }
}

/// Joins a row of `log` with the values before and after it.
fn find_change(snapshot: &Snapshot, revision: Revision, row: &LogRow<'_>) -> Raw<Change> {
    let previous = match row.replaced {
        true => snapshot.past.get((row.key, revision.0))?,
        false => None,
    };
    let previous = previous.map(|entry| decode_entry(row.key.into(), entry.value()));
    let kind = match row.created {
        Some(created) => {
            let entry = snapshot.entry_at(row.key, revision)?;
            let entry = entry.expect("history after the oldest revision is whole");
            ChangeKind::Put { value: entry.value, created: Revision(created) }
        }
        None => ChangeKind::Delete,
    };
    let key = previous.as_ref().map_or_else(|| row.key.into(), |entry| entry.key.clone());
    Ok(Change { key, revision, kind, previous })
}

fn size_of_values(change: &Change) -> usize {
    let now = match &change.kind {
        ChangeKind::Put { value, .. } => value.len(),
        ChangeKind::Delete => 0,
    };
    now + change.previous.as_ref().map_or(0, |entry| entry.value.len())
}
