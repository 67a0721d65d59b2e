//! The default store: one file on this machine, durable before it answers, with history for reads and watches.
//!
//! ```text
//! commit ─▶ queue ─▶ writer thread (one durable batch) ─▶ fan-out ─▶ feeds (watchers)
//! get, range ─▶ snapshot          watch ─▶ feed: history, then the fan-out's queue
//! ```

mod copy;
mod fanout;
mod feed;
mod read;
mod tables;
mod write;
mod writer;

use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use redb::{Database, ReadableDatabase};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::copy::Copy;
use self::{
    fanout::Fanout,
    feed::Feed,
    read::{Raw, Snapshot, failed},
    tables::{CURRENT, FORMAT, FORMAT_NOW, LOG, META, OLDEST, PAST, PAST_BYTES, REVISION},
    write::Counters,
    writer::{Command, QUEUE_MAX, Writer},
};
use crate::{Entry, Error, Outcome, Page, Range, Revision, Store, Transaction, WatchEvent};

/// Memory for pages of the file. Hot reads are served by the API server's watch cache, not from here.
const CACHE_BYTES: usize = 32 << 20;

/// How much history is kept without anyone asking; older revisions are `Compacted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryBound {
    /// Revisions that stay readable.
    pub revisions: u64,
    /// Bytes of replaced and deleted values, across all kept revisions.
    pub bytes: u64,
}

/// Enough for minutes of a busy cluster's watchers to come back without a new list.
pub const HISTORY: HistoryBound = HistoryBound { revisions: 50_000, bytes: 256 << 20 };

/// The embedded store. Dropping it ends the writer after what is queued is durable.
pub struct Embedded {
    database: Arc<Database>,
    fanout: Arc<Fanout>,
    /// `None` only while dropping.
    commands: Option<mpsc::Sender<Command>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be opened, is in use, or was written by a newer layout.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        Self::open_bounded(path, HISTORY).await
    }

    /// Like [`Embedded::open`] with another bound on history.
    ///
    /// # Errors
    /// As for [`Embedded::open`].
    pub async fn open_bounded(path: &Path, bound: HistoryBound) -> Result<Self, Error> {
        let path = path.to_owned();
        run_blocking(move || Self::start(&path, bound)).await?
    }

    fn start(path: &Path, bound: HistoryBound) -> Result<Self, Error> {
        if !path.exists() {
            create_file(path)?;
        }
        let database = open_file(path)?;
        create_tables(&database).map_err(failed("create the store's tables"))?;
        let (counters, format) = load(&database).map_err(failed("read the store's counters"))?;
        if format != FORMAT_NOW {
            let source = format!("layout {format} is not {FORMAT_NOW}").into();
            return Err(Error::Backend { operation: "open the store's file", source });
        }
        let database = Arc::new(database);
        let fanout = Arc::new(Fanout::new(Revision(counters.revision)));
        let (commands, receiver) = mpsc::channel(QUEUE_MAX);
        let writer = Writer {
            database: Arc::clone(&database),
            fanout: Arc::clone(&fanout),
            commands: receiver,
            counters,
            bound,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| Error::Backend {
                operation: "start the writer",
                source: error.into(),
            })?;
        Ok(Self { database, fanout, commands: Some(commands), writer: Mutex::new(Some(thread)) })
    }

    async fn send<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(Error::Closed)?;
        commands.send(command(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.commands = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Embedded {
    /// On the caller's thread: one key is a few page look-ups.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, Error> {
        Snapshot::take(&self.database)?.get(key, at)
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        let database = Arc::clone(&self.database);
        run_blocking(move || Snapshot::take(&database)?.range(&range)).await?
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        transaction.check()?;
        self.send(|reply| Command::Commit { transaction, reply }).await
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        // Subscribe first: what is committed from here on waits in the queue.
        let (subscription, published) = self.fanout.subscribe(prefix);
        Snapshot::take(&self.database)?.check(Some(after))?;
        let history = Some((Arc::clone(&self.database), published));
        let prefix = prefix.to_owned();
        let feed = Feed { prefix, subscription, reached: after, history, ready: VecDeque::new() };
        Ok(feed.into_stream())
    }

    async fn revision(&self) -> Result<Revision, Error> {
        Ok(Snapshot::take(&self.database)?.newest)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.send(|reply| Command::Compact { revision, reply }).await
    }

    async fn backup(&self, path: &Path) -> Result<Revision, Error> {
        let (database, path) = (Arc::clone(&self.database), path.to_owned());
        run_blocking(move || copy::copy_current(&database, &path)).await?
    }
}

/// Runs file work away from the async threads.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Backend { operation: "run file work", source: error.into() })
}

fn open_file(path: &Path) -> Result<Database, Error> {
    let builder = &mut Database::builder();
    builder.set_cache_size(CACHE_BYTES).create(path).map_err(failed("open the store's file"))
}

/// The file gets its name when it is whole: what a kill in the middle leaves behind could not be opened.
fn create_file(path: &Path) -> Result<(), Error> {
    let unfinished = path.with_extension("unfinished");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("remove an unfinished store")(error));
        }
        _ => {}
    }
    let database = open_file(&unfinished)?;
    create_tables(&database).map_err(failed("create the store's tables"))?;
    drop(database);
    std::fs::rename(&unfinished, path).map_err(failed("name the store's file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(failed("write the name of the store's file"))
}

fn create_tables(database: &Database) -> Raw<()> {
    let transaction = database.begin_write()?;
    {
        transaction.open_table(CURRENT)?;
        transaction.open_table(PAST)?;
        transaction.open_table(LOG)?;
        let mut meta = transaction.open_table(META)?;
        if redb::ReadableTable::get(&meta, FORMAT)?.is_none() {
            meta.insert(FORMAT, FORMAT_NOW)?;
        }
    }
    Ok(transaction.commit()?)
}

fn load(database: &Database) -> Raw<(Counters, u64)> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |key| Ok::<_, redb::Error>(meta.get(key)?.map_or(0, |value| value.value()));
    let counters = Counters {
        revision: number(REVISION)?,
        oldest: number(OLDEST)?,
        past_bytes: number(PAST_BYTES)?,
    };
    Ok((counters, number(FORMAT)?))
}
