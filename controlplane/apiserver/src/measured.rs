//! A store whose requests are timed for the metrics.

use std::{fmt, path::Path, sync::Arc, time::Instant};

use async_trait::async_trait;
use futures::stream::BoxStream;
use store::{Entry, Error, Outcome, Page, Range, Revision, Store, Transaction, WatchEvent};

use crate::metrics::Metrics;

/// Passes everything on to the real store.
pub struct Measured {
    inner: Arc<dyn Store>,
    metrics: Metrics,
}

impl Measured {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }
}

impl fmt::Debug for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Store for Measured {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, Error> {
        let started = Instant::now();
        let result = self.inner.get(key, at).await;
        self.metrics.store("get", started.elapsed());
        result
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        let started = Instant::now();
        let result = self.inner.range(range).await;
        self.metrics.store("list", started.elapsed());
        result
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        let started = Instant::now();
        let result = self.inner.commit(transaction).await;
        self.metrics.store("txn", started.elapsed());
        result
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        self.inner.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.inner.revision().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let started = Instant::now();
        let result = self.inner.compact(revision).await;
        self.metrics.store("compact", started.elapsed());
        result
    }

    async fn backup(&self, path: &Path) -> Result<Revision, Error> {
        self.inner.backup(path).await
    }
}
