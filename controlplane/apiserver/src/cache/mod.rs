//! The watch cache: every object of the store in memory, kept current by one follower task. All reads come from it.

mod body;
mod by_node;
mod collection;
mod follow;
mod item;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::watch;

pub use body::ListBody;
use by_node::ByNode;
pub use collection::{Cached, Event, Expired, Interest, Subscription};
pub use follow::{follow, load};
pub use item::{Item, encode};

use crate::keys::{self, Collection};

/// How long a reader waits for a revision that the store has and the cache has not yet.
const CATCH_UP_MAX: Duration = Duration::from_secs(3);

/// All resources. One per server.
#[derive(Debug)]
pub struct Cache {
    collections: RwLock<HashMap<Collection, Arc<Cached>>>,
    /// The revision up to which the cache is complete.
    applied: watch::Sender<u64>,
    /// What a collection that is first asked for starts its history at.
    start: RwLock<u64>,
    /// Lists of before this revision are no longer served, though the history may still have them.
    lists_from: AtomicU64,
    by_node: Mutex<ByNode>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            collections: RwLock::default(),
            applied: watch::Sender::new(0),
            start: RwLock::new(0),
            lists_from: AtomicU64::new(0),
            by_node: Mutex::default(),
        }
    }
}

impl Cache {
    /// The collection, empty if nothing was ever stored in it.
    #[must_use]
    pub fn collection(&self, collection: &Collection) -> Arc<Cached> {
        if let Some(cached) = self.collections.read().get(collection) {
            return cached.clone();
        }
        let start = *self.start.read();
        let mut collections = self.collections.write();
        collections
            .entry(collection.clone())
            .or_insert_with(|| Arc::new(Cached::new(start)))
            .clone()
    }

    /// A collection's objects as they were at a revision.
    pub fn list_at(
        &self,
        collection: &Collection,
        namespace: &str,
        revision: u64,
    ) -> Result<Vec<Arc<Item>>, Expired> {
        let oldest = self.lists_from.load(Ordering::Relaxed);
        if revision < oldest {
            return Err(Expired { oldest });
        }
        self.collection(collection).list_at(namespace, revision)
    }

    /// Ends the lists of older revisions: a token for their next page is good only as long as the store's compaction says, not as
    /// long as a quiet collection has history.
    pub fn forget_lists_before(&self, revision: u64) {
        self.lists_from.fetch_max(revision, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self, collection: &Collection, namespace: &str, name: &str) -> Option<Arc<Item>> {
        self.collection(collection).get(&keys::local(namespace, name))
    }

    /// The revision up to which the cache is complete.
    #[must_use]
    pub fn revision(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Waits until the cache has a revision; false when it did not come in time.
    pub async fn wait(&self, revision: u64) -> bool {
        if self.revision() >= revision {
            return true;
        }
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= revision);
        matches!(tokio::time::timeout(CATCH_UP_MAX, reached).await, Ok(Ok(_)))
    }

    /// Collections and how many objects each has.
    #[must_use]
    pub fn sizes(&self) -> Vec<(Collection, usize)> {
        self.collections.read().iter().map(|(key, cached)| (key.clone(), cached.len())).collect()
    }
}

impl access::Lookup for Cache {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let item = Self::get(self, &Collection::of(group, resource), namespace, name)?;
        Some(item.value().clone())
    }

    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let cached = self.collection(&Collection::of(group, resource));
        let (items, _) = cached.list(namespace.unwrap_or_default());
        items.iter().map(|item| item.value().clone()).collect()
    }

    fn generation(&self, group: &str, resource: &str) -> Option<u64> {
        Some(self.collection(&Collection::of(group, resource)).changed())
    }

    fn pods_on_node(&self, node: &str) -> Vec<Arc<Value>> {
        let pods = self.collection(&Collection::of("", "pods"));
        let on_node = self.by_node.lock().on(&pods, node);
        on_node.iter().map(|pod| pod.value().clone()).collect()
    }
}
