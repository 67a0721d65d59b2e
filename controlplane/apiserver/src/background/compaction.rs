//! The store forgets history that no client may still ask for, as upstream's `--etcd-compaction-interval`.

use std::{sync::Arc, time::Duration};

use store::Revision;

use crate::app::App;

const EVERY: Duration = Duration::from_secs(300);

/// Compacts to where the store was one interval ago, until shutdown.
pub async fn compact_history(app: Arc<App>) {
    // interval: history grows with time; five minutes of it are kept for late readers.
    let mut looks = tokio::time::interval(EVERY);
    let mut before = app.cache.revision();
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        if before > 0
            && let Err(error) = app.store.compact(Revision(before)).await
        {
            tracing::debug!(%error, "the store was not compacted");
        }
        before = app.cache.revision();
    }
}
