//! The tables inside the file and how their rows are encoded. Nothing here decides.
//!
//! - `current`: key → its entry now.
//! - `past`: (key, revision that ended it) → an entry that was replaced or deleted.
//! - `log`: (revision, position) → which key changed and how; values are found in the other two tables, so that a value
//!   is stored once however long its history is.
//! - `meta`: counters.

use std::sync::Arc;

use bytes::Bytes;
use redb::TableDefinition;

use crate::{Entry, Revision};

pub(super) const CURRENT: TableDefinition<&str, &[u8]> = TableDefinition::new("current");
pub(super) const PAST: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("past");
pub(super) const LOG: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("log");
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// `meta`: the newest committed revision.
pub(super) const REVISION: &str = "revision";
/// `meta`: the oldest revision that can be read, and after which can be watched.
pub(super) const OLDEST: &str = "oldest";
/// `meta`: bytes of all rows of `past`.
pub(super) const PAST_BYTES: &str = "past_bytes";
/// `meta`: the version of this layout.
pub(super) const FORMAT: &str = "format";
pub(super) const FORMAT_NOW: u64 = 1;

const HEAD: usize = 16;

/// created, modified (little endian), value.
pub(super) fn encode_entry(created: u64, modified: u64, value: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEAD + value.len());
    row.extend_from_slice(&created.to_le_bytes());
    row.extend_from_slice(&modified.to_le_bytes());
    row.extend_from_slice(value);
    row
}

pub(super) fn decode_entry(key: Arc<str>, row: &[u8]) -> Entry {
    Entry {
        key,
        value: Bytes::copy_from_slice(&row[HEAD..]),
        created: Revision(number(&row[..8])),
        modified: modified_of(row),
    }
}

/// The revision that wrote an entry, without copying its value.
pub(super) fn modified_of(row: &[u8]) -> Revision {
    Revision(number(&row[8..HEAD]))
}

/// One row of `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogRow<'a> {
    pub key: &'a str,
    /// `None` is a deletion; else the revision that created the key.
    pub created: Option<u64>,
    /// Whether `past` holds an entry that this change ended.
    pub replaced: bool,
}

const PUT: u8 = 1;
const REPLACED: u8 = 2;

impl<'a> LogRow<'a> {
    /// flags, created (little endian), key.
    pub fn encode(&self) -> Vec<u8> {
        let put = if self.created.is_some() { PUT } else { 0 };
        let replaced = if self.replaced { REPLACED } else { 0 };
        let mut row = Vec::with_capacity(9 + self.key.len());
        row.push(put | replaced);
        row.extend_from_slice(&self.created.unwrap_or(0).to_le_bytes());
        row.extend_from_slice(self.key.as_bytes());
        row
    }

    pub fn decode(row: &'a [u8]) -> Self {
        Self {
            key: str::from_utf8(&row[9..]).expect("encode wrote a str and pages are checksummed"),
            created: (row[0] & PUT != 0).then(|| number(&row[1..9])),
            replaced: row[0] & REPLACED != 0,
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("callers slice eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        let entry = decode_entry("/a".into(), &encode_entry(3, 9, b"value"));
        assert_eq!(
            (entry.created, entry.modified, &entry.value[..]),
            (Revision(3), Revision(9), &b"value"[..])
        );
        for created in [None, Some(7)] {
            for replaced in [false, true] {
                let row = LogRow { key: "/b/c", created, replaced };
                assert_eq!(LogRow::decode(&row.encode()), row);
            }
        }
    }
}
