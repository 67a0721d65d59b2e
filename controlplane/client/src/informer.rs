//! A kind's objects, kept current in memory, with a stream of what changed.
//!
//! Level-triggered: the store is the truth, the stream only says where to look. A consumer that fell behind gets
//! [`Change::Resynced`] and looks at everything.

use std::{collections::HashMap, fmt, fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream::BoxStream};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event, InitialListStrategy},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use tokio_util::task::AbortOnDropHandle;

use crate::retry::WatchBackoff;

/// Changes that may wait for the slowest subscriber before it is told to look at everything.
const CHANGES_MAX: usize = 1024;
/// How long a server may take to end a streamed list before it is asked for an ordinary one: it may have ignored
/// `sendInitialEvents`.
const STREAMED_LIST_MAX: Duration = Duration::from_secs(10);

/// Where to look. After the initial list there is one `Applied` per object.
#[derive(Debug)]
pub enum Change<K> {
    /// Created or changed.
    Applied(Arc<K>),
    /// Gone; the last state that was seen.
    Deleted(Arc<K>),
    /// Some changes were not delivered: compare all you know with the store.
    Resynced,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Applied(object) => Self::Applied(Arc::clone(object)),
            Self::Deleted(object) => Self::Deleted(Arc::clone(object)),
            Self::Resynced => Self::Resynced,
        }
    }
}

/// A running informer. Clones share it; it stops when the last is dropped.
pub struct Informer<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    store: Store<K>,
    changes: broadcast::Sender<Change<K>>,
    listed: watch::Receiver<bool>,
    _task: Arc<AbortOnDropHandle<()>>,
}

/// The informer was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the informer was stopped")]
pub struct Stopped;

impl<K> Debug for Informer<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informer").field("objects", &self.store.len()).finish_non_exhaustive()
    }
}

impl<K> Clone for Informer<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            changes: self.changes.clone(),
            listed: self.listed.clone(),
            _task: Arc::clone(&self._task),
        }
    }
}

impl<K> Informer<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync + Unpin + Debug,
{
    /// Starts to list and watch; must be called inside a Tokio runtime.
    #[must_use]
    pub fn start(api: Api<K>, config: watcher::Config) -> Self
    where
        K::DynamicType: Default,
    {
        Self::start_dynamic(api, config, K::DynamicType::default())
    }

    /// Like [`Informer::start`], for kinds that are known only at run time.
    #[must_use]
    pub fn start_dynamic(api: Api<K>, config: watcher::Config, kind: K::DynamicType) -> Self {
        let writer = Writer::new(kind);
        let store = writer.as_reader();
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        let (tell_listed, listed) = watch::channel(false);
        let task =
            Task { writer, store: store.clone(), changes: changes.clone(), listed: tell_listed };
        let handle = tokio::spawn(task.run(api, config));
        Self { store, changes, listed, _task: Arc::new(AbortOnDropHandle::new(handle)) }
    }

    /// The objects as of now; complete once [`Informer::ready`] returned.
    #[must_use]
    pub fn store(&self) -> &Store<K> {
        &self.store
    }

    /// The object of that name (and namespace, `None` where the kind has none).
    #[must_use]
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>>
    where
        K::DynamicType: Default,
    {
        let key = ObjectRef::new(name);
        self.store.get(&match namespace {
            Some(namespace) => key.within(namespace),
            None => key,
        })
    }

    /// Every object.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// Waits for the first complete list. Any number of tasks may wait (the store's own `wait_until_ready` wakes one).
    ///
    /// # Errors
    /// When the informer was stopped before.
    pub async fn ready(&self) -> Result<(), Stopped> {
        let mut listed = self.listed.clone();
        listed.wait_for(|listed| *listed).await.map_err(|_| Stopped)?;
        Ok(())
    }

    /// Changes from now on; the store already holds each when it arrives. Subscribe before reading the store.
    pub fn changes(&self) -> impl Stream<Item = Change<K>> + Send + Unpin + use<K> {
        BroadcastStream::new(self.changes.subscribe()).map(|change| match change {
            Ok(change) => change,
            Err(BroadcastStreamRecvError::Lagged(_)) => Change::Resynced,
        })
    }
}

/// The owner of the store's writing half.
struct Task<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    writer: Writer<K>,
    store: Store<K>,
    changes: broadcast::Sender<Change<K>>,
    listed: watch::Sender<bool>,
}

type Events<K> = BoxStream<'static, watcher::Result<Event<K>>>;

impl<K> Task<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync + Unpin + Debug,
{
    async fn run(mut self, api: Api<K>, config: watcher::Config) {
        let mut events = open(&api, &config, InitialListStrategy::StreamingList);
        // interval: none; once, the patience with a server that does not end a streamed list.
        let patience = tokio::time::sleep(STREAMED_LIST_MAX);
        tokio::pin!(patience);
        let mut patient = true;
        loop {
            tokio::select! {
                biased;
                // First: what has arrived must not be thrown away because it took long.
                event = events.next() => match event {
                    Some(event) => self.take(event),
                    None => return,
                },
                () = &mut patience, if patient && !*self.listed.borrow() => {
                    patient = false;
                    events = open(&api, &config, InitialListStrategy::ListWatch);
                }
            }
        }
    }

    fn take(&mut self, event: watcher::Result<Event<K>>) {
        match event {
            Ok(Event::InitDone) => self.replace_all(),
            Ok(event) => {
                self.writer.apply_watcher_event(&event);
                let change = match event {
                    Event::Apply(object) => Change::Applied(Arc::new(object)),
                    Event::Delete(object) => Change::Deleted(Arc::new(object)),
                    Event::Init | Event::InitApply(_) | Event::InitDone => return,
                };
                self.tell(change);
            }
            // The stream pauses by its backoff and goes on.
            Err(error) => tracing::warn!(%error, kind = std::any::type_name::<K>(), "watch failed"),
        }
    }

    /// A new list replaces the store; what differs is told as changes.
    fn replace_all(&mut self) {
        let before = self.store.state();
        self.writer.apply_watcher_event(&Event::InitDone);
        self.listed.send_replace(true);
        for change in differences(before, self.store.state()) {
            self.tell(change);
        }
    }

    /// Nobody may be subscribed; then nobody wants to know.
    fn tell(&self, change: Change<K>) {
        let _ = self.changes.send(change);
    }
}

fn open<K>(api: &Api<K>, config: &watcher::Config, strategy: InitialListStrategy) -> Events<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let config = watcher::Config { initial_list_strategy: strategy, ..config.clone() };
    watcher::watcher(api.clone(), config).backoff(WatchBackoff::default()).boxed()
}

/// What changed between two complete lists.
fn differences<K: Resource>(before: Vec<Arc<K>>, after: Vec<Arc<K>>) -> Vec<Change<K>> {
    let key = |object: &Arc<K>| (object.namespace(), object.name_any());
    let mut gone: HashMap<_, _> = before.into_iter().map(|object| (key(&object), object)).collect();
    let mut changes = Vec::new();
    for object in after {
        let known = gone.remove(&key(&object));
        let same = known.is_some_and(|known| {
            known.resource_version() == object.resource_version() && known.uid() == object.uid()
        });
        if !same {
            changes.push(Change::Applied(object));
        }
    }
    changes.extend(gone.into_values().map(Change::Deleted));
    changes
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, version: &str) -> Arc<ConfigMap> {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.resource_version = Some(version.to_owned());
        Arc::new(object)
    }

    #[test]
    fn a_new_list_is_told_as_changes() {
        let before = vec![object("same", "1"), object("changed", "2"), object("gone", "3")];
        let after = vec![object("same", "1"), object("changed", "5"), object("new", "6")];
        let mut told: Vec<_> = differences(before, after)
            .into_iter()
            .map(|change| match change {
                Change::Applied(object) => format!("applied {}", object.name_any()),
                Change::Deleted(object) => format!("deleted {}", object.name_any()),
                Change::Resynced => "resynced".to_owned(),
            })
            .collect();
        told.sort();
        assert_eq!(told, ["applied changed", "applied new", "deleted gone"]);
    }
}
