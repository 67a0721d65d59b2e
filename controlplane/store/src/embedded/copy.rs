//! Writes a new store file that holds given entries and no history: backups.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableTable};

use super::{
    create_tables,
    read::{Raw, Snapshot, failed},
    tables::{CURRENT, META, OLDEST, REVISION, encode_entry},
};
use crate::{Entry, Error, Revision};

/// Memory that the copy may use for pages.
const CACHE_BYTES: usize = 8 << 20;

/// A file that becomes visible under its name only when it is whole.
pub(crate) struct Copy {
    database: Database,
    partial: PathBuf,
    path: PathBuf,
}

impl Copy {
    pub fn create(path: &Path) -> Result<Self, Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        let _ = std::fs::remove_file(&partial);
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&partial)
            .map_err(failed("create a backup"))?;
        create_tables(&database).map_err(failed("create a backup"))?;
        Ok(Self { database, partial, path: path.to_owned() })
    }

    /// Adds entries of one page.
    pub fn add(&self, entries: &[Entry]) -> Result<(), Error> {
        let write = || -> Raw<()> {
            let transaction = self.database.begin_write()?;
            {
                let mut current = transaction.open_table(CURRENT)?;
                for entry in entries {
                    let row = encode_entry(entry.created.0, entry.modified.0, &entry.value);
                    current.insert(&*entry.key, row.as_slice())?;
                }
            }
            Ok(transaction.commit()?)
        };
        write().map_err(failed("write a backup"))
    }

    /// Makes the copy durable under its name.
    pub fn finish(self, revision: Revision) -> Result<(), Error> {
        let write = || -> Raw<()> {
            let transaction = self.database.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(REVISION, revision.0)?;
                meta.insert(OLDEST, revision.0)?;
            }
            Ok(transaction.commit()?)
        };
        write().map_err(failed("write a backup"))?;
        self.database.close().map_err(failed("write a backup"))?;
        publish(&self.partial, &self.path)
            .map_err(|source| Error::Backend { operation: "name a backup", source: source.into() })
    }
}

fn publish(partial: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::rename(partial, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Entries copied in one durable step.
const STEP_ENTRIES: usize = 1024;

/// Copies everything current in `database`, as of now, while it is written to.
pub(super) fn copy_current(database: &Database, path: &Path) -> Result<Revision, Error> {
    let snapshot = Snapshot::take(database)?;
    let copy = Copy::create(path)?;
    let mut step = Vec::with_capacity(STEP_ENTRIES);
    let rows = snapshot.current.iter().map_err(failed("read for a backup"))?;
    for row in rows {
        let (key, row) = row.map_err(failed("read for a backup"))?;
        step.push(super::tables::decode_entry(key.value().into(), row.value()));
        if step.len() == STEP_ENTRIES {
            copy.add(&step)?;
            step.clear();
        }
    }
    copy.add(&step)?;
    copy.finish(snapshot.newest)?;
    Ok(snapshot.newest)
}
