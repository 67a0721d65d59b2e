//! Fills the cache from the store and follows it. The only writer of the cache.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt;
use store::{Change, ChangeKind, Range, Revision, Store, WatchEvent};
use tokio_util::sync::CancellationToken;

use super::{Cache, Item, collection::Update};
use crate::keys::{self, Collection};

/// Objects read from the store at a time while loading.
const LOAD_PAGE: usize = 5000;
/// Pause before the watch is opened again after the store failed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Reads everything as of one revision.
pub async fn load(cache: &Cache, store: &dyn Store) -> Result<(), store::Error> {
    let mut found: HashMap<Collection, Vec<Arc<Item>>> = HashMap::new();
    let mut range = Range { prefix: keys::ROOT.into(), after: None, limit: LOAD_PAGE, at: None };
    let revision = loop {
        let page = store.range(range.clone()).await?;
        for entry in &page.entries {
            let Some((collection, namespace, name)) = keys::parse(&entry.key) else { continue };
            let key = keys::local(namespace, name).into();
            let item = Item::new(key, &entry.value, entry.modified.0);
            found.entry(collection).or_default().push(Arc::new(item));
        }
        range.at = Some(page.revision);
        range.after = page.entries.last().map(|entry| entry.key.to_string());
        if page.remaining == 0 || page.entries.is_empty() {
            break page.revision.0;
        }
    };
    *cache.start.write() = revision;
    let known: Vec<Collection> = cache.collections.read().keys().cloned().collect();
    for collection in known {
        found.entry(collection).or_default();
    }
    for (collection, items) in found {
        cache.collection(&collection).reset(items, revision);
    }
    cache.applied.send_replace(revision);
    Ok(())
}

/// Follows the store until shutdown. A watch that fails is opened again; after a gap everything is read anew.
pub async fn follow(cache: Arc<Cache>, store: Arc<dyn Store>, shutdown: CancellationToken) {
    loop {
        let ended = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            ended = follow_once(&cache, &*store) => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(error = %error, "the watch on the store ended");
            if matches!(error, store::Error::Closed) {
                return;
            }
            if matches!(error, store::Error::Compacted { .. } | store::Error::FutureRevision { .. })
                && let Err(error) = load(&cache, &*store).await
            {
                tracing::error!(%error, "failed to read the store again");
            }
        }
        // interval: only after the store failed, so that a store that is down is not asked in a busy loop.
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn follow_once(cache: &Cache, store: &dyn Store) -> Result<(), store::Error> {
    let mut events = store.watch(keys::ROOT, Revision(cache.revision())).await?;
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Progress(revision) => advance(cache, revision.0),
            WatchEvent::Changes { revision, changes } => {
                apply(cache, changes);
                advance(cache, revision.0);
            }
        }
    }
    Ok(())
}

fn advance(cache: &Cache, revision: u64) {
    cache.applied.send_if_modified(|applied| {
        let newer = revision > *applied;
        *applied = revision.max(*applied);
        newer
    });
}

fn apply(cache: &Cache, changes: Vec<Change>) {
    let mut by_collection: HashMap<Collection, Vec<Update>> = HashMap::new();
    for change in changes {
        let Some((collection, namespace, name)) = keys::parse(&change.key) else { continue };
        let key: Arc<str> = keys::local(namespace, name).into();
        let revision = change.revision.0;
        let item = match change.kind {
            ChangeKind::Put { value, .. } => {
                Some(Arc::new(Item::new(key.clone(), &value, revision)))
            }
            ChangeKind::Delete => None,
        };
        by_collection.entry(collection).or_default().push(Update { revision, key, item });
    }
    for (collection, updates) in by_collection {
        cache.collection(&collection).apply(updates);
    }
}
