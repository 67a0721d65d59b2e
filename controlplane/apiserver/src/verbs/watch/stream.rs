//! The life of one watch: initial events, then changes, bookmarks, timeout.

use std::{sync::Arc, time::Duration};

use api::Status;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body::Frame;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::frame::{self, Type};
use crate::{
    cache::{Event, Item, Subscription},
    call::Call,
    custom::conversion,
    metrics::LongRunning,
    respond::BoxError,
    verbs::Filter,
};

/// How often a quiet watch tells its client the newest revision, as upstream.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Changes written at once.
const BATCH: usize = 128;

/// A running watch.
pub struct Stream {
    call: Call,
    filter: Filter,
    ready: BytesMut,
    /// Events in `ready`.
    events: u64,
    future: Option<mpsc::Receiver<Arc<Event>>>,
    /// The last revision the client has been told of.
    pub revision: u64,
    deadline: Instant,
    bookmarks: Option<Interval>,
    columns_sent: bool,
    shutdown: CancellationToken,
    _gauge: LongRunning,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    pub fn new(call: Call, filter: Filter, permit: OwnedSemaphorePermit) -> Result<Self, Status> {
        let deadline = Instant::now() + super::timeout(&call)?;
        let bookmarks = call.query.flag("allowWatchBookmarks").then(|| {
            // interval: bookmarks keep a quiet client's revision fresh; nothing waits for them.
            let start = Instant::now() + BOOKMARK_EVERY;
            let mut interval = tokio::time::interval_at(start, BOOKMARK_EVERY);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        let gauge = call.app.metrics.long_running(&call);
        Ok(Self {
            shutdown: call.app.shutdown.clone(),
            call,
            filter,
            ready: BytesMut::new(),
            events: 0,
            future: None,
            revision: 0,
            deadline,
            bookmarks,
            columns_sent: false,
            _gauge: gauge,
            _permit: permit,
        })
    }

    /// The present objects as ADDED events.
    pub fn begin(&mut self, items: &[Arc<Item>], revision: u64, bookmark: bool) {
        for item in items.iter().filter(|item| self.filter.matches(item)) {
            frame::put(&mut self.ready, &self.call, Type::Added, item, !self.columns_sent);
            self.events += 1;
            self.columns_sent = true;
        }
        self.revision = revision;
        if bookmark {
            frame::put_bookmark(&mut self.ready, &self.call, revision, true);
        }
    }

    /// Ends with an error, which is all that the client gets.
    pub fn fail(&mut self, status: &Status) {
        frame::put_error(&mut self.ready, &self.call, status);
    }

    /// Items as the watch's version shows them.
    pub async fn served(&self, items: Vec<Arc<Item>>) -> Result<Vec<Arc<Item>>, Status> {
        conversion::items(&self.call, items).await
    }

    pub async fn follow(&mut self, subscription: Subscription) {
        for event in &conversion::events(&self.call, subscription.past).await {
            self.put(event);
        }
        self.future = Some(subscription.future);
    }

    fn put(&mut self, event: &Event) {
        self.revision = self.revision.max(event.revision);
        let before = event.previous.as_ref().is_some_and(|item| self.filter.matches(item));
        let after = !event.deleted && self.filter.matches(&event.item);
        let Some(kind) = frame::transition(before, after) else { return };
        let columns = !std::mem::replace(&mut self.columns_sent, true);
        self.events += 1;
        match &event.previous {
            // The selector no longer matches: the client gets the state that did, at this revision.
            Some(previous) if kind == Type::Deleted && !event.deleted => {
                let last = previous.at_revision(event.revision);
                frame::put(&mut self.ready, &self.call, kind, &last, columns);
            }
            _ => frame::put(&mut self.ready, &self.call, kind, &event.item, columns),
        }
    }

    pub fn into_frames(self) -> impl futures::Stream<Item = Result<Frame<Bytes>, BoxError>> + Send {
        stream::unfold(self, |mut watch| async move {
            let bytes = watch.next().await?;
            Some((Ok(Frame::data(bytes)), watch))
        })
    }

    /// The next bytes; `None` ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.ready.is_empty() {
                let bytes = self.ready.split().freeze();
                let events = std::mem::take(&mut self.events);
                self.call.app.metrics.watch_events(&self.call, events, bytes.len());
                return Some(bytes);
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Option<()> {
        let future = self.future.as_mut()?;
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return None,
            // The timeout comes before changes, or a busy watch would never end.
            // interval: none; the watch's own `timeoutSeconds`.
            () = tokio::time::sleep_until(self.deadline) => {
                let bookmark = self.bookmarks.is_some();
                if bookmark {
                    self.bookmark().await;
                }
                self.future = None;
                return bookmark.then_some(());
            }
            received = future.recv_many(&mut batch, BATCH) => {
                if received == 0 {
                    // Cut: too slow, or the cache was read anew.
                    self.future = None;
                    return None;
                }
            }
            () = tick(&mut self.bookmarks) => {}
        }
        if batch.is_empty() {
            self.bookmark().await;
        }
        for event in &conversion::events(&self.call, batch).await {
            self.put(event);
        }
        Some(())
    }

    /// A quiet watch's bookmark. The revision is read before the queue is looked at, so nothing is skipped.
    async fn bookmark(&mut self) {
        let complete = self.call.app.cache.revision();
        let mut late = Vec::new();
        if let Some(future) = &mut self.future {
            while let Ok(event) = future.try_recv() {
                late.push(event);
            }
        }
        for event in &conversion::events(&self.call, late).await {
            self.put(event);
        }
        self.revision = self.revision.max(complete);
        frame::put_bookmark(&mut self.ready, &self.call, self.revision, false);
    }
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
