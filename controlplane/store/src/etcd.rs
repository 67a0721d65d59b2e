//! The store for more than one API server: etcd v3 over gRPC. Holds no state of its own.

use std::{collections::VecDeque, fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, ConnectOptions, Event, EventType, GetOptions,
    GetResponse, KeyValue, KvClient, Txn, TxnOp, TxnOpResponse, WatchClient, WatchOptions,
    WatchResponse, WatchStream,
};
use futures::stream::{self, BoxStream, StreamExt};

use crate::{
    Change, ChangeKind, Entry, Error, Guard, Outcome, Page, Range, Revision, Store, Transaction,
    WatchEvent, Write,
    embedded::{Copy, run_blocking},
};

/// Entries per request of a range: bounds one message, not the answer.
const STEP_ENTRIES: usize = 1000;
/// Bytes of one message from etcd: a step of entries at etcd's own limit of 1.5 MiB would be more, but never is.
const MESSAGE_BYTES_MAX: usize = 512 << 20;

/// A client of an etcd cluster.
#[derive(Clone)]
pub struct Etcd {
    kv: KvClient,
    watch: WatchClient,
}

impl Etcd {
    /// Connects to any of `endpoints` (`http://host:2379`).
    ///
    /// # Errors
    /// When an endpoint is not a URL or none answers.
    pub async fn connect(endpoints: &[String]) -> Result<Self, Error> {
        let options = ConnectOptions::new().with_require_leader(true);
        let client =
            Client::connect(endpoints, Some(options)).await.map_err(failed("connect to etcd"))?;
        let etcd = Self {
            kv: client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX),
            watch: client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX),
        };
        etcd.revision().await?;
        Ok(etcd)
    }

    /// One request of a range; explains what etcd refuses.
    async fn read(
        &self,
        key: &str,
        options: GetOptions,
        at: Option<Revision>,
    ) -> Result<GetResponse, Error> {
        let mut kv = self.kv.clone();
        match kv.get(key, Some(options)).await {
            Ok(response) => Ok(response),
            Err(error) => Err(self.explain(error, "read a range", at).await),
        }
    }

    /// Maps what etcd says about revisions; the missing facts are asked for.
    async fn explain(
        &self,
        error: etcd_client::Error,
        operation: &'static str,
        asked: Option<Revision>,
    ) -> Error {
        let etcd_client::Error::GRpcStatus(status) = &error else {
            return failed(operation)(error);
        };
        let Some(asked) = asked else { return failed(operation)(error) };
        if status.message().contains("has been compacted") {
            let oldest = self.oldest(asked).await.unwrap_or(Revision(asked.0 + 1));
            return Error::Compacted { asked, oldest };
        }
        if status.message().contains("is a future revision") {
            return match self.revision().await {
                Ok(newest) => Error::FutureRevision { asked, newest },
                Err(error) => error,
            };
        }
        failed(operation)(error)
    }

    /// The oldest revision that can be read, given one that cannot: only a refused watch tells.
    async fn oldest(&self, compacted: Revision) -> Option<Revision> {
        let mut stream = self.open_watch("", Revision(compacted.0.saturating_sub(1))).await.ok()?;
        while let Ok(Some(response)) = stream.message().await {
            if response.canceled() {
                return Some(revision_of(response.compact_revision()));
            }
            if !response.created() {
                break;
            }
        }
        None
    }

    async fn open_watch(&self, prefix: &str, after: Revision) -> Result<WatchStream, Error> {
        let (start, end) = bounds(prefix, None);
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(signed(Revision(after.0 + 1)))
            .with_prev_key()
            .with_progress_notify();
        let mut watch = self.watch.clone();
        watch.watch(start, Some(options)).await.map_err(failed("watch"))
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, Error> {
        let response = self.read(key, at_revision(GetOptions::new(), at), at).await?;
        response.kvs().first().map(entry_of).transpose()
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        let mut page = Page { entries: Vec::new(), revision: Revision(0), remaining: 0 };
        let (mut start, end) = bounds(&range.prefix, range.after.as_deref());
        let mut at = range.at;
        loop {
            let wanted = match range.limit {
                0 => STEP_ENTRIES,
                limit => STEP_ENTRIES.min(limit - page.entries.len()),
            };
            let limit = i64::try_from(wanted).expect("a step is small");
            let options = GetOptions::new().with_range(end.clone()).with_limit(limit);
            let response = self.read(&start, at_revision(options, at), at).await?;
            page.revision = at.unwrap_or_else(|| header_revision(response.header()));
            at = Some(page.revision);
            for kv in response.kvs() {
                page.entries.push(entry_of(kv)?);
            }
            page.remaining = response.count().unsigned_abs() - response.kvs().len() as u64;
            let full = range.limit != 0 && page.entries.len() >= range.limit;
            match page.entries.last() {
                Some(last) if page.remaining > 0 && !full => start = successor(&last.key),
                _ => return Ok(page),
            }
        }
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        transaction.check()?;
        let compares: Vec<_> = transaction.guards.iter().map(compare_of).collect();
        let writes: Vec<_> = transaction.writes.into_iter().map(operation_of).collect();
        let present: Vec<_> =
            transaction.guards.iter().map(|guard| TxnOp::get(guard.key(), None)).collect();
        let txn = Txn::new().when(compares).and_then(writes).or_else(present);
        let response = self.kv.clone().txn(txn).await.map_err(failed("commit a transaction"))?;
        if response.succeeded() {
            return Ok(Outcome::Committed(header_revision(response.header())));
        }
        let present = response.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().map(entry_of).transpose(),
            _ => Err(unexpected("commit a transaction", "an answer that was not asked for")),
        });
        Ok(Outcome::Refused(present.collect::<Result<_, _>>()?))
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        let newest = self.revision().await?;
        if after > newest {
            return Err(Error::FutureRevision { asked: after, newest });
        }
        let stream = self.open_watch(prefix, after).await?;
        let mut feed = Feed { stream, after, ready: VecDeque::new() };
        // Whether the revision is still there is known once etcd has created the watch.
        feed.fill().await?;
        Ok(feed.into_stream())
    }

    async fn revision(&self) -> Result<Revision, Error> {
        let response = self.read("/", GetOptions::new().with_count_only(), None).await?;
        Ok(header_revision(response.header()))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let mut kv = self.kv.clone();
        match kv.compact(signed(revision), Some(CompactionOptions::new())).await {
            Ok(_) => Ok(()),
            Err(error) => match self.explain(error, "compact", Some(revision)).await {
                Error::Compacted { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn backup(&self, path: &Path) -> Result<Revision, Error> {
        let path = path.to_owned();
        let copy = Arc::new(run_blocking(move || Copy::create(&path)).await??);
        let mut range = Range { limit: STEP_ENTRIES, ..Range::default() };
        loop {
            let page = self.range(range.clone()).await?;
            range.at = Some(page.revision);
            range.after = page.entries.last().map(|entry| entry.key.to_string());
            let target = Arc::clone(&copy);
            run_blocking(move || target.add(&page.entries)).await??;
            if page.remaining == 0 {
                let copy = Arc::into_inner(copy).expect("each step has ended");
                run_blocking(move || copy.finish(page.revision)).await??;
                return Ok(page.revision);
            }
        }
    }
}

/// One watch: splits etcd's answers, which may hold many revisions, into one event per revision.
struct Feed {
    stream: WatchStream,
    after: Revision,
    ready: VecDeque<WatchEvent>,
}

impl Feed {
    fn into_stream(self) -> BoxStream<'static, Result<WatchEvent, Error>> {
        stream::unfold(Some(self), |feed| async move {
            let mut feed = feed?;
            loop {
                if let Some(event) = feed.ready.pop_front() {
                    return Some((Ok(event), Some(feed)));
                }
                if let Err(error) = feed.fill().await {
                    return Some((Err(error), None));
                }
            }
        })
        .boxed()
    }

    /// Takes one answer.
    async fn fill(&mut self) -> Result<(), Error> {
        let response = self.stream.message().await.map_err(failed("watch"))?;
        let response = response.ok_or(Error::Closed)?;
        if response.canceled() {
            return Err(self.cancelled(&response));
        }
        if response.created() {
            return Ok(());
        }
        let events = response.events().iter().map(change_of).collect::<Result<Vec<_>, _>>()?;
        if events.is_empty() {
            self.ready.push_back(WatchEvent::Progress(header_revision(response.header())));
        }
        for change in events {
            self.push(change);
        }
        Ok(())
    }

    fn push(&mut self, change: Change) {
        if let Some(WatchEvent::Changes { revision, changes }) = self.ready.back_mut()
            && *revision == change.revision
        {
            changes.push(change);
        } else {
            let revision = change.revision;
            self.after = revision;
            self.ready.push_back(WatchEvent::Changes { revision, changes: vec![change] });
        }
    }

    fn cancelled(&self, response: &WatchResponse) -> Error {
        match response.compact_revision() {
            0 => unexpected("watch", response.cancel_reason()),
            oldest => Error::Compacted { asked: self.after, oldest: revision_of(oldest) },
        }
    }
}

fn failed(operation: &'static str) -> impl FnOnce(etcd_client::Error) -> Error {
    move |source| Error::Backend { operation, source: source.into() }
}

fn unexpected(operation: &'static str, text: &str) -> Error {
    Error::Backend { operation, source: text.to_owned().into() }
}

/// The first key behind `key`.
fn successor(key: &str) -> String {
    format!("{key}\0")
}

/// etcd's half-open range for a prefix: an end of one zero byte means no end.
fn bounds(prefix: &str, after: Option<&str>) -> (String, Vec<u8>) {
    let start = match after {
        Some(after) => successor(after),
        None if prefix.is_empty() => "\0".to_owned(),
        None => prefix.to_owned(),
    };
    let mut end = prefix.as_bytes().to_vec();
    while end.last() == Some(&u8::MAX) {
        end.pop();
    }
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0),
    }
    (start, end)
}

/// etcd counts from 1, where nothing exists, and takes 0 for "now".
fn at_revision(options: GetOptions, at: Option<Revision>) -> GetOptions {
    match at {
        Some(revision) => options.with_revision(signed(revision).max(1)),
        None => options,
    }
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn revision_of(revision: i64) -> Revision {
    Revision(revision.unsigned_abs())
}

fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Revision {
    header.map_or(Revision(0), |header| revision_of(header.revision()))
}

fn entry_of(kv: &KeyValue) -> Result<Entry, Error> {
    Ok(Entry {
        key: kv.key_str().map_err(failed("read a key's name"))?.into(),
        value: Bytes::copy_from_slice(kv.value()),
        created: revision_of(kv.create_revision()),
        modified: revision_of(kv.mod_revision()),
    })
}

fn change_of(event: &Event) -> Result<Change, Error> {
    let kv = event.kv().ok_or_else(|| unexpected("watch", "an event without a key"))?;
    let entry = entry_of(kv)?;
    let kind = match event.event_type() {
        EventType::Put => ChangeKind::Put { value: entry.value, created: entry.created },
        EventType::Delete => ChangeKind::Delete,
    };
    let previous = event.prev_kv().map(entry_of).transpose()?;
    Ok(Change { key: entry.key, revision: entry.modified, kind, previous })
}

fn compare_of(guard: &Guard) -> Compare {
    match guard {
        Guard::Absent(key) => Compare::version(key.as_str(), CompareOp::Equal, 0),
        // etcd says 0 of an absent key; the guard asks for one that exists.
        Guard::Unchanged(key, Revision(0)) => Compare::version(key.as_str(), CompareOp::Less, 0),
        Guard::Unchanged(key, revision) => {
            Compare::mod_revision(key.as_str(), CompareOp::Equal, signed(*revision))
        }
    }
}

fn operation_of(write: Write) -> TxnOp {
    match write {
        Write::Put(key, value) => TxnOp::put(key, value.to_vec(), None),
        Write::Delete(key) => TxnOp::delete(key, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_becomes_a_half_open_range() {
        for (prefix, after, start, end) in [
            ("/a/", None, "/a/", &b"/a0"[..]),
            ("", None, "\0", &b"\0"[..]),
            ("/a/", Some("/a/x"), "/a/x\0", &b"/a0"[..]),
        ] {
            assert_eq!(bounds(prefix, after), (start.to_owned(), end.to_vec()));
        }
    }
}
