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

/// A write that happens together with another one or not at all: usage that a quota counts.
#[derive(Debug, Clone)]
pub struct Rider {
    pub place: Place,
    /// What the rider's object must still be at.
    pub revision: u64,
    /// The new state, in stored form.
    pub object: Value,
}

impl Rider {
    fn add_to(&self, transaction: &mut Transaction) {
        let key = self.place.store_key();
        transaction.guards.push(Guard::Unchanged(key.clone(), Revision(self.revision)));
        transaction.writes.push(Write::Put(key, encode(&self.object)));
    }
}

/// How an insertion went.
#[derive(Debug)]
pub enum Inserted {
    Done(Arc<Item>),
    /// An object of that name is there already.
    Exists,
    /// A rider's object changed meanwhile; decide again.
    RiderMoved,
}

/// Creates an object; `None` when one is there already. A dry run only checks.
pub async fn insert(
    app: &App,
    place: &Place,
    object: &Value,
    dry_run: bool,
) -> Result<Option<Arc<Item>>, Status> {
    match insert_with(app, place, object, dry_run, &[]).await? {
        Inserted::Done(item) => Ok(Some(item)),
        Inserted::Exists | Inserted::RiderMoved => Ok(None),
    }
}

/// [`insert`] with riders.
pub async fn insert_with(
    app: &App,
    place: &Place,
    object: &Value,
    dry_run: bool,
    riders: &[Rider],
) -> Result<Inserted, Status> {
    let bytes = encode(object);
    if dry_run {
        let exists = app.cache.get(&place.collection, &place.namespace, &place.name).is_some();
        if exists {
            return Ok(Inserted::Exists);
        }
        return Ok(Inserted::Done(Arc::new(unsaved(place, bytes))));
    }
    let key = place.store_key();
    let mut transaction = Transaction {
        guards: vec![Guard::Absent(key.clone())],
        writes: vec![Write::Put(key, bytes.clone())],
    };
    riders.iter().for_each(|rider| rider.add_to(&mut transaction));
    match app.store.commit(transaction).await.map_err(|error| errors::store(&error))? {
        Outcome::Refused(found) => match found.into_iter().next().flatten() {
            Some(_) => Ok(Inserted::Exists),
            None => Ok(Inserted::RiderMoved),
        },
        Outcome::Committed(revision) => {
            log(place, object, revision, "created");
            Ok(Inserted::Done(Arc::new(finish(app, place, &bytes, revision).await)))
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
    let mut race = Race::start(app, kind, place)?;
    loop {
        let next = decide(race.current())?;
        if let Some(item) = race.write(&next, dry_run, &[]).await? {
            return Ok(item);
        }
    }
}

/// A change of one object against others who change it too: look at [`Race::current`], decide, [`Race::write`];
/// when that says `None`, decide again.
pub struct Race<'a> {
    app: &'a App,
    kind: &'a Kind,
    place: &'a Place,
    current: Arc<Item>,
    left: usize,
}

impl<'a> Race<'a> {
    /// Starts from the newest state that the cache has; 404 when there is none.
    pub fn start(app: &'a App, kind: &'a Kind, place: &'a Place) -> Result<Self, Status> {
        let current = app
            .cache
            .get(&place.collection, &place.namespace, &place.name)
            .ok_or_else(|| errors::not_found(kind, &place.name))?;
        Ok(Self { app, kind, place, current, left: RACES_MAX })
    }

    #[must_use]
    pub fn current(&self) -> &Arc<Item> {
        &self.current
    }

    /// Writes unless someone was faster: then the newer object is the current one and the answer is `None`.
    pub async fn write(
        &mut self,
        next: &Next,
        dry_run: bool,
        riders: &[Rider],
    ) -> Result<Option<Arc<Item>>, Status> {
        let (object, delete) = match next {
            Next::Keep => return Ok(Some(self.current.clone())),
            Next::Put(object) => (object, false),
            Next::Delete(object) => (object, true),
        };
        let bytes = encode(object);
        if dry_run {
            let item = Item::new(self.place.local_key(), &bytes, self.current.revision);
            return Ok(Some(Arc::new(item)));
        }
        let key = self.place.store_key();
        let write = if delete {
            Write::Delete(key.clone())
        } else {
            Write::Put(key.clone(), bytes.clone())
        };
        let guards = vec![Guard::Unchanged(key, Revision(self.current.revision))];
        let mut transaction = Transaction { guards, writes: vec![write] };
        riders.iter().for_each(|rider| rider.add_to(&mut transaction));
        let outcome = self.app.store.commit(transaction).await;
        match outcome.map_err(|error| errors::store(&error))? {
            Outcome::Committed(revision) => {
                log(self.place, object, revision, if delete { "deleted" } else { "changed" });
                Ok(Some(Arc::new(finish(self.app, self.place, &bytes, revision).await)))
            }
            Outcome::Refused(found) => {
                self.lost(found.into_iter().next().flatten())?;
                Ok(None)
            }
        }
    }

    fn lost(&mut self, found: Option<Entry>) -> Result<(), Status> {
        let Some(entry) = found else {
            return Err(errors::not_found(self.kind, &self.place.name));
        };
        self.left -= 1;
        if self.left == 0 {
            return Err(errors::modified(self.kind, &self.place.name));
        }
        if entry.modified.0 != self.current.revision {
            self.current = Arc::new(self.place.item(&entry));
        }
        Ok(())
    }
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
