//! Events live for one hour after they were last seen, as upstream's `--event-ttl`.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use store::{Guard, Revision, Transaction, Write};

use crate::{app::App, clock, keys::Collection};

const TTL_SECONDS: i64 = 3600;
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Deletions per look, so that a flood of old events never fills the store's queue.
const DELETIONS_MAX: usize = 2000;

/// Deletes old events until shutdown.
pub async fn expire_events(app: Arc<App>) {
    // interval: expiry is a matter of time only; nothing happens that could wake this task.
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let collection = Collection::of("", "events");
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        let now = clock::now_unix();
        let (items, _) = app.cache.collection(&collection).list("");
        let old = items.iter().filter(|item| now - last_seen(item.value()) > TTL_SECONDS);
        for item in old.take(DELETIONS_MAX) {
            let key = collection.key(item.namespace(), item.name());
            let transaction = Transaction {
                guards: vec![Guard::Unchanged(key.clone(), Revision(item.revision))],
                writes: vec![Write::Delete(key)],
            };
            if let Err(error) = app.store.commit(transaction).await {
                tracing::warn!(%error, "failed to expire an event");
                break;
            }
        }
    }
}

fn last_seen(event: &Value) -> i64 {
    [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ]
    .iter()
    .filter_map(|time| clock::parse(time.as_str()?))
    .max()
    .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_latest_time_counts() {
        let event = json!({"metadata": {"creationTimestamp": "1970-01-01T00:00:05Z"},
            "lastTimestamp": "1970-01-01T00:00:09Z", "eventTime": null});
        assert_eq!(last_seen(&event), 9);
    }
}
