//! Applies transactions and trims history inside one write transaction of the engine; decides nothing about batching.

use redb::{Table, WriteTransaction};

use super::{
    read::Raw,
    tables::{
        CURRENT, LOG, LogRow, META, OLDEST, PAST, PAST_BYTES, REVISION, decode_entry, encode_entry,
    },
};
use crate::{Change, ChangeKind, Entry, Guard, Outcome, Revision, Transaction, Write};

/// What one committed transaction changed.
#[derive(Debug)]
pub(super) struct Commit {
    pub revision: Revision,
    pub changes: Vec<Change>,
}

/// The counters of `meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    pub revision: u64,
    pub oldest: u64,
    pub past_bytes: u64,
}

/// The open tables of one batch.
pub(super) struct Batch<'t> {
    current: Table<'t, &'static str, &'static [u8]>,
    past: Table<'t, (&'static str, u64), &'static [u8]>,
    log: Table<'t, (u64, u32), &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    pub counters: Counters,
}

impl<'t> Batch<'t> {
    pub fn open(transaction: &'t WriteTransaction, counters: Counters) -> Raw<Self> {
        Ok(Self {
            current: transaction.open_table(CURRENT)?,
            past: transaction.open_table(PAST)?,
            log: transaction.open_table(LOG)?,
            meta: transaction.open_table(META)?,
            counters,
        })
    }

    /// Writes the counters; the last call before the engine's commit.
    pub fn seal(mut self) -> Raw<Counters> {
        let Counters { revision, oldest, past_bytes } = self.counters;
        for (key, value) in [(REVISION, revision), (OLDEST, oldest), (PAST_BYTES, past_bytes)] {
            self.meta.insert(key, value)?;
        }
        Ok(self.counters)
    }

    /// Checks the guards against everything before this transaction, in this batch too, and writes if all hold.
    pub fn apply(&mut self, transaction: &Transaction) -> Raw<(Outcome, Option<Commit>)> {
        if let Some(present) = self.refusal(&transaction.guards)? {
            return Ok((Outcome::Refused(present), None));
        }
        let revision = Revision(self.counters.revision + 1);
        let mut changes = Vec::with_capacity(transaction.writes.len());
        for write in &transaction.writes {
            if let Some(change) = self.write(write, revision)? {
                self.record(&change, changes.len())?;
                changes.push(change);
            }
        }
        if changes.is_empty() {
            return Ok((Outcome::Committed(Revision(self.counters.revision)), None));
        }
        self.counters.revision = revision.0;
        Ok((Outcome::Committed(revision), Some(Commit { revision, changes })))
    }

    fn refusal(&self, guards: &[Guard]) -> Raw<Option<Vec<Option<Entry>>>> {
        let present =
            guards.iter().map(|guard| self.entry(guard.key())).collect::<Raw<Vec<_>>>()?;
        let hold = guards.iter().zip(&present).all(|(guard, entry)| guard.holds(entry.as_ref()));
        Ok((!hold).then_some(present))
    }

    fn entry(&self, key: &str) -> Raw<Option<Entry>> {
        use redb::ReadableTable;
        Ok(self.current.get(key)?.map(|row| decode_entry(key.into(), row.value())))
    }

    /// Changes `current`; `None` when there was nothing to delete.
    fn write(&mut self, write: &Write, revision: Revision) -> Raw<Option<Change>> {
        let previous = self.entry(write.key())?;
        let kind = match write {
            Write::Put(key, value) => {
                let created = previous.as_ref().map_or(revision, |entry| entry.created);
                let row = encode_entry(created.0, revision.0, value);
                self.current.insert(key.as_str(), row.as_slice())?;
                ChangeKind::Put { value: value.clone(), created }
            }
            Write::Delete(_) if previous.is_none() => return Ok(None),
            Write::Delete(key) => {
                self.current.remove(key.as_str())?;
                ChangeKind::Delete
            }
        };
        let key = previous.as_ref().map_or_else(|| write.key().into(), |entry| entry.key.clone());
        Ok(Some(Change { key, revision, kind, previous }))
    }

    /// Adds a change to `log` and what it ended to `past`.
    fn record(&mut self, change: &Change, position: usize) -> Raw<()> {
        let revision = change.revision.0;
        let created = match &change.kind {
            ChangeKind::Put { created, .. } => Some(created.0),
            ChangeKind::Delete => None,
        };
        let row = LogRow { key: &change.key, created, replaced: change.previous.is_some() };
        let position = u32::try_from(position).expect("WRITES_MAX is small");
        self.log.insert((revision, position), row.encode().as_slice())?;
        if let Some(entry) = &change.previous {
            let row = encode_entry(entry.created.0, entry.modified.0, &entry.value);
            self.past.insert((&*change.key, revision), row.as_slice())?;
            self.counters.past_bytes += row.len() as u64;
        }
        Ok(())
    }

    /// Removes at most `rows_max` rows of history up to and including `oldest`; true when nothing is left to remove.
    pub fn trim(&mut self, rows_max: usize) -> Raw<bool> {
        use redb::ReadableTable;
        let mut rows = Vec::new();
        for row in self.log.range(..=(self.counters.oldest, u32::MAX))?.take(rows_max) {
            let (at, row) = row?;
            rows.push((at.value(), row.value().to_vec()));
        }
        for (at, row) in &rows {
            self.log.remove(*at)?;
            let row = LogRow::decode(row);
            if row.replaced
                && let Some(ended) = self.past.remove((row.key, at.0))?
            {
                let bytes = ended.value().len() as u64;
                self.counters.past_bytes = self.counters.past_bytes.saturating_sub(bytes);
            }
        }
        Ok(rows.len() < rows_max)
    }

    /// The revision `rows` rows of history after the oldest.
    pub fn revision_after(&self, rows: usize) -> Raw<u64> {
        use redb::ReadableTable;
        let row = self.log.range((self.counters.oldest + 1, 0)..)?.nth(rows);
        Ok(row.transpose()?.map_or(self.counters.revision, |(at, _)| at.value().0))
    }
}
