//! Writing single objects to the store, and waiting until the cache shows the write.

use std::sync::Arc;

use api::{Kind, Status};
use serde_json::Value;
use store::{Entry, Guard, Outcome, Revision, Transaction, Write};

use crate::{
    app::App,
    cache::{Item, encode},
    errors,
    keys::{self, Collection},
};

/// How often an update that loses the race is tried again on the newer object.
const RACES_MAX: usize = 50;

/// Where an object is.
#[derive(Debug, Clone)]
pub struct Place {
    pub collection: Collection,
    pub namespace: String,
    pub name: String,
}

impl Place {
    #[must_use]
    pub fn new(kind: &Kind, namespace: &str, name: &str) -> Self {
        let namespace = match kind.scope {
            api::Scope::Cluster => "",
            api::Scope::Namespaced => namespace,
        };
        Self {
            collection: Collection::of(&kind.group, &kind.plural),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn store_key(&self) -> String {
        self.collection.key(&self.namespace, &self.name)
    }

    fn local_key(&self) -> Arc<str> {
        keys::local(&self.namespace, &self.name).into()
    }

    fn item(&self, entry: &Entry) -> Item {
        Item::new(self.local_key(), &entry.value, entry.modified.0)
    }
}

/// What an update turns the present object into.
#[derive(Debug)]
pub enum Next {
    /// This object (in stored form).
    Put(Value),
    /// Nothing: the object goes away; its last state is the answer.
    Delete(Value),
    /// What it is.
    Keep,
}

/// Creates an object; `None` when one is there already. A dry run only checks.
pub async fn insert(
    app: &App,
    place: &Place,
    object: &Value,
    dry_run: bool,
) -> Result<Option<Arc<Item>>, Status> {
    let bytes = encode(object);
    if dry_run {
        let exists = app.cache.get(&place.collection, &place.namespace, &place.name).is_some();
        return Ok((!exists).then(|| Arc::new(unsaved(place, bytes))));
    }
    let key = place.store_key();
    let transaction = Transaction {
        guards: vec![Guard::Absent(key.clone())],
        writes: vec![Write::Put(key, bytes.clone())],
    };
    match app.store.commit(transaction).await.map_err(|error| errors::store(&error))? {
        Outcome::Refused(_) => Ok(None),
        Outcome::Committed(revision) => {
            log(place, object, revision, "created");
            Ok(Some(Arc::new(finish(app, place, &bytes, revision).await)))
        }
    }
}

/// Changes an object. `decide` sees the present state and may be asked again after a lost race.
pub async fn update(
    app: &App,
    kind: &Kind,
    place: &Place,
    dry_run: bool,
    mut decide: impl FnMut(&Item) -> Result<Next, Status>,
) -> Result<Arc<Item>, Status> {
    let mut current = app
        .cache
        .get(&place.collection, &place.namespace, &place.name)
        .ok_or_else(|| errors::not_found(kind, &place.name))?;
    for _ in 0..RACES_MAX {
        let next = decide(&current)?;
        let (object, delete) = match &next {
            Next::Keep => return Ok(current),
            Next::Put(object) => (object, false),
            Next::Delete(object) => (object, true),
        };
        let bytes = encode(object);
        if dry_run {
            return Ok(Arc::new(Item::new(place.local_key(), &bytes, current.revision)));
        }
        let key = place.store_key();
        let write = if delete {
            Write::Delete(key.clone())
        } else {
            Write::Put(key.clone(), bytes.clone())
        };
        let guards = vec![Guard::Unchanged(key, Revision(current.revision))];
        let transaction = Transaction { guards, writes: vec![write] };
        match app.store.commit(transaction).await.map_err(|error| errors::store(&error))? {
            Outcome::Committed(revision) => {
                log(place, object, revision, if delete { "deleted" } else { "changed" });
                return Ok(Arc::new(finish(app, place, &bytes, revision).await));
            }
            Outcome::Refused(found) => match found.into_iter().next().flatten() {
                Some(entry) => current = Arc::new(place.item(&entry)),
                None => return Err(errors::not_found(kind, &place.name)),
            },
        }
    }
    Err(errors::modified(kind, &place.name))
}

/// One line per write with the names that the agent's and the scheduler's lines carry too, so that one search for a uid follows a
/// pod. Only the ends of a pod's life are worth a line at the default level.
fn log(place: &Place, object: &Value, revision: Revision, what: &str) {
    let (group, resource) = (&place.collection.group, &place.collection.resource);
    let (namespace, name) = (&place.namespace, &place.name);
    let (uid, revision) = (object["metadata"]["uid"].as_str(), revision.0);
    if group.is_empty() && resource == "pods" && what != "changed" {
        let pod = format!("{namespace}/{name}");
        tracing::info!(pod, uid, revision, node = object["spec"]["nodeName"].as_str(), "{what}");
    } else {
        tracing::debug!(group, resource, namespace, name, uid, revision, "{what}");
    }
}

async fn finish(app: &App, place: &Place, bytes: &[u8], revision: Revision) -> Item {
    app.cache.wait(revision.0).await;
    Item::new(place.local_key(), bytes, revision.0)
}

/// An object that was not stored has no resourceVersion.
fn unsaved(place: &Place, bytes: bytes::Bytes) -> Item {
    Item::unstored(place.local_key(), bytes)
}
