//! Reads of one consistent snapshot: a key or a range, now or as of a revision.

use redb::{AccessGuard, Database, ReadOnlyTable, ReadableDatabase, TableError};

use super::tables::{CURRENT, LOG, META, OLDEST, PAST, REVISION, decode_entry, modified_of};
use crate::{Entry, Error, Page, Range, Revision};

/// What the engine itself reports.
pub(super) type Raw<T> = Result<T, redb::Error>;

/// Names the operation that the engine failed in.
pub(super) fn failed<E: Into<redb::Error>>(operation: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Backend { operation, source: Box::new(error.into()) }
}

/// All tables as of one moment.
pub(super) struct Snapshot {
    pub(super) current: ReadOnlyTable<&'static str, &'static [u8]>,
    pub(super) past: ReadOnlyTable<(&'static str, u64), &'static [u8]>,
    pub(super) log: ReadOnlyTable<(u64, u32), &'static [u8]>,
    pub(super) newest: Revision,
    pub(super) oldest: Revision,
}

impl Snapshot {
    pub fn take(database: &Database) -> Result<Self, Error> {
        Self::open(database).map_err(failed("open a snapshot"))
    }

    fn open(database: &Database) -> Raw<Self> {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let number = |key| Ok::<_, TableError>(meta.get(key)?.map_or(0, |value| value.value()));
        Ok(Self {
            current: transaction.open_table(CURRENT)?,
            past: transaction.open_table(PAST)?,
            log: transaction.open_table(LOG)?,
            newest: Revision(number(REVISION)?),
            oldest: Revision(number(OLDEST)?),
        })
    }

    /// The revision to read at, if it is one that can be read.
    pub fn check(&self, at: Option<Revision>) -> Result<Revision, Error> {
        match at {
            None => Ok(self.newest),
            Some(asked) if asked > self.newest => {
                Err(Error::FutureRevision { asked, newest: self.newest })
            }
            Some(asked) if asked < self.oldest => {
                Err(Error::Compacted { asked, oldest: self.oldest })
            }
            Some(asked) => Ok(asked),
        }
    }

    pub fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, Error> {
        let revision = self.check(at)?;
        let found = match at {
            Some(_) if revision < self.newest => self.entry_at(key, revision),
            _ => self.entry_now(key),
        };
        found.map_err(failed("read a key"))
    }

    pub fn range(&self, range: &Range) -> Result<Page, Error> {
        let revision = self.check(range.at)?;
        let page = if revision < self.newest {
            self.range_at(range, revision)
        } else {
            self.range_now(range)
        };
        page.map_err(failed("read a range"))
    }

    fn entry_now(&self, key: &str) -> Raw<Option<Entry>> {
        Ok(self.current.get(key)?.map(|row| decode_entry(key.into(), row.value())))
    }

    /// The entry that was valid at `revision`: the first one that ended later, or the present one.
    pub(super) fn entry_at(&self, key: &str, revision: Revision) -> Raw<Option<Entry>> {
        let mut ended = self.past.range((key, revision.0 + 1)..=(key, u64::MAX))?;
        if let Some(row) = ended.next() {
            let (_, row) = row?;
            let valid = modified_of(row.value()) <= revision;
            return Ok(valid.then(|| decode_entry(key.into(), row.value())));
        }
        Ok(self.entry_now(key)?.filter(|entry| entry.modified <= revision))
    }

    fn range_now(&self, range: &Range) -> Raw<Page> {
        let mut page = PageBuilder::new(range, self.newest);
        for row in self.current.range(start_of(range)..)? {
            let (key, row) = row?;
            if !key.value().starts_with(&range.prefix) {
                break;
            }
            if page.wants(key.value()) {
                page.add(|| decode_entry(key.value().into(), row.value()));
            }
        }
        Ok(page.finish())
    }

    /// Merges what is current with what has ended since, both in key order.
    fn range_at(&self, range: &Range, revision: Revision) -> Raw<Page> {
        let mut page = PageBuilder::new(range, revision);
        let mut ended = Ended { rows: self.past.range((start_of(range), 0)..)?, head: None };
        ended.advance()?;
        for row in self.current.range(start_of(range)..)? {
            let (key, row) = row?;
            if !key.value().starts_with(&range.prefix) {
                break;
            }
            ended.add_up_to(Some(key.value()), &mut page)?;
            if page.wants(key.value()) && modified_of(row.value()) <= revision {
                page.add(|| decode_entry(key.value().into(), row.value()));
            }
        }
        ended.add_up_to(None, &mut page)?;
        Ok(page.finish())
    }
}

type EndedRow<'a> = (AccessGuard<'a, (&'static str, u64)>, AccessGuard<'a, &'static [u8]>);

/// A walk over `past` with one row of look-ahead.
struct Ended<'a> {
    rows: redb::Range<'a, (&'static str, u64), &'static [u8]>,
    head: Option<EndedRow<'a>>,
}

impl Ended<'_> {
    fn advance(&mut self) -> Raw<()> {
        self.head = self.rows.next().transpose()?;
        Ok(())
    }

    /// Adds the entries that were valid at the page's revision, of keys up to and including `last`.
    fn add_up_to(&mut self, last: Option<&str>, page: &mut PageBuilder<'_>) -> Raw<()> {
        while let Some((key, row)) = &self.head {
            let (key, ended) = key.value();
            let outside = !key.starts_with(&page.range.prefix);
            if outside || last.is_some_and(|last| key > last) {
                return Ok(());
            }
            let revision = page.page.revision;
            let valid = ended > revision.0 && modified_of(row.value()) <= revision;
            if valid && page.wants(key) {
                page.add(|| decode_entry(key.into(), row.value()));
            }
            self.advance()?;
        }
        Ok(())
    }
}

/// The first key that can be in the range.
fn start_of(range: &Range) -> &str {
    range.after.as_deref().unwrap_or(&range.prefix)
}

/// Collects entries up to the limit and counts the rest.
struct PageBuilder<'a> {
    range: &'a Range,
    page: Page,
}

impl<'a> PageBuilder<'a> {
    fn new(range: &'a Range, revision: Revision) -> Self {
        Self { range, page: Page { entries: Vec::new(), revision, remaining: 0 } }
    }

    fn wants(&self, key: &str) -> bool {
        self.range.after.as_deref().is_none_or(|after| key > after)
    }

    fn add(&mut self, entry: impl FnOnce() -> Entry) {
        if self.range.limit == 0 || self.page.entries.len() < self.range.limit {
            self.page.entries.push(entry());
        } else {
            self.page.remaining += 1;
        }
    }

    fn finish(self) -> Page {
        self.page
    }
}
