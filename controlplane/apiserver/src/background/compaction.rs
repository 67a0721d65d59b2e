//! The store forgets history that no client may still ask for, as upstream's `--etcd-compaction-interval`.

use std::sync::Arc;

use store::Revision;

use crate::app::App;

/// Compacts to where the store was one interval ago, until shutdown.
pub async fn compact_history(app: Arc<App>) {
    // interval: history grows with time; some of it (five minutes by default) is kept for late readers.
    let mut looks = tokio::time::interval(app.config.compaction_interval);
    let mut before = app.cache.revision();
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        if before > 0 {
            match app.store.compact(Revision(before)).await {
                Ok(()) => app.cache.forget_lists_before(before),
                Err(error) => tracing::debug!(%error, "the store was not compacted"),
            }
        }
        before = app.cache.revision();
    }
}
