//! ConfigMaps and secrets that pods of this node refer to: one watch per object, shared, ended with its last
//! user. Each object is watched by name, as the node authorizer allows it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use futures::TryStreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use podloop::spec::Objects as Resolved;
use podloop::spec::env::Data;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    ConfigMap,
    Secret,
}

/// The name of one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

/// What is known of an object: nothing yet, absent, or its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Known {
    #[default]
    NotYet,
    Absent,
    Present(Data),
}

#[derive(Debug)]
struct Entry {
    known: watch::Receiver<Known>,
    users: HashMap<String, Arc<Notify>>,
    task: AbortHandle,
}

/// The watched objects of this node.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    entries: Arc<Mutex<HashMap<ObjectRef, Entry>>>,
}

impl Objects {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, entries: Arc::default() }
    }

    /// Watches these objects for a pod, and no longer those it used before. `changed` is notified of changes.
    pub fn set_references(&self, uid: &str, wanted: &BTreeSet<ObjectRef>, changed: &Arc<Notify>) {
        let mut entries = self.entries.lock();
        entries.retain(|reference, entry| {
            if !wanted.contains(reference) {
                entry.users.remove(uid);
            }
            let used = !entry.users.is_empty();
            if !used {
                entry.task.abort();
            }
            used
        });
        for reference in wanted {
            let entry = entries.entry(reference.clone()).or_insert_with(|| self.start(reference));
            entry.users.insert(uid.to_owned(), Arc::clone(changed));
        }
    }

    /// Stops watching for a pod that is gone.
    pub fn release(&self, uid: &str) {
        self.set_references(uid, &BTreeSet::new(), &Arc::new(Notify::new()));
    }

    /// The data of these objects, once each is known to exist or not.
    pub async fn resolve(&self, wanted: &BTreeSet<ObjectRef>) -> Resolved {
        let mut resolved = Resolved::default();
        for reference in wanted {
            let known = self.entries.lock().get(reference).map(|entry| entry.known.clone());
            let Some(mut known) = known else { continue };
            let Ok(known) = known.wait_for(|known| *known != Known::NotYet).await else { continue };
            if let Known::Present(data) = &*known {
                let all = match reference.kind {
                    Kind::ConfigMap => &mut resolved.config_maps,
                    Kind::Secret => &mut resolved.secrets,
                };
                all.insert(reference.name.clone(), Arc::clone(data));
            }
        }
        resolved
    }

    fn start(&self, reference: &ObjectRef) -> Entry {
        let (publish, known) = watch::channel(Known::NotYet);
        let task = tokio::spawn(follow(
            self.client.clone(),
            reference.clone(),
            publish,
            Arc::clone(&self.entries),
        ));
        Entry { known, users: HashMap::new(), task: task.abort_handle() }
    }
}

async fn follow(
    client: Client,
    reference: ObjectRef,
    publish: watch::Sender<Known>,
    entries: Arc<Mutex<HashMap<ObjectRef, Entry>>>,
) {
    let note = |known: Known| {
        let changed = publish.send_if_modified(|old| {
            let differs = *old != known;
            *old = known;
            differs
        });
        if changed && let Some(entry) = entries.lock().get(&reference) {
            entry.users.values().for_each(|user| user.notify_one());
        }
    };
    let namespace = &reference.namespace;
    match reference.kind {
        Kind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(client, namespace);
            follow_kind(api, &reference.name, config_map_data, note).await;
        }
        Kind::Secret => {
            let api: Api<Secret> = Api::namespaced(client, namespace);
            follow_kind(api, &reference.name, secret_data, note).await;
        }
    }
}

async fn follow_kind<K>(api: Api<K>, name: &str, data: fn(K) -> Data, note: impl Fn(Known))
where
    K: Resource<Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Send
        + for<'de> serde::Deserialize<'de>
        + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut seen_in_list = false;
    loop {
        match events.try_next().await {
            Ok(Some(watcher::Event::Init)) => seen_in_list = false,
            Ok(Some(watcher::Event::InitApply(object))) => {
                seen_in_list = true;
                note(Known::Present(data(object)));
            }
            Ok(Some(watcher::Event::InitDone)) => {
                if !seen_in_list {
                    note(Known::Absent);
                }
            }
            Ok(Some(watcher::Event::Apply(object))) => note(Known::Present(data(object))),
            Ok(Some(watcher::Event::Delete(_))) => note(Known::Absent),
            Ok(None) => return,
            // The watcher backs off and starts again by itself.
            Err(error) => tracing::debug!(%error, name, "watch of a referenced object failed"),
        }
    }
}

fn config_map_data(object: ConfigMap) -> Data {
    let mut all: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    all.extend(object.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes())));
    all.extend(object.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0)));
    Arc::new(all)
}

fn secret_data(object: Secret) -> Data {
    let data = object.data.into_iter().flatten().map(|(key, value)| (key, value.0));
    Arc::new(data.collect())
}

/// The user and password for a registry in the pull secrets (`.dockerconfigjson` and `.dockercfg`).
#[must_use]
pub fn registry_auth(secrets: &[Data], registry: &str) -> Option<Value> {
    let auths = |data: &Data| -> Option<Value> {
        if let Some(bytes) = data.get(".dockerconfigjson") {
            let parsed: Value = serde_json::from_slice(bytes).ok()?;
            return parsed.get("auths").cloned();
        }
        serde_json::from_slice(data.get(".dockercfg")?).ok()
    };
    let host = |key: &str| {
        let bare = key.trim_start_matches("https://").trim_start_matches("http://");
        bare.split('/').next().unwrap_or(bare).to_owned()
    };
    secrets.iter().filter_map(auths).find_map(|auths| {
        let all = auths.as_object()?;
        all.iter().find(|(key, _)| host(key) == registry).map(|(_, value)| value.clone())
    })
}
