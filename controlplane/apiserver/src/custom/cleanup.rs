//! The end of a definition: its objects go first, then its finalizer. Upstream
//! `apiextensions-apiserver/pkg/controller/finalizer`.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use serde_json::{Value, json};
use store::{Guard, Revision, Transaction, Write};

use super::{change, conditions, row};
use crate::{
    app::App,
    cache::{Interest, Item, encode},
    clock,
    commit::Next,
    keys::Collection,
};

/// Definitions being cleaned up after, by uid: one task each.
#[derive(Debug, Default, Clone)]
pub struct Cleanups(Arc<Mutex<BTreeSet<String>>>);

impl Cleanups {
    /// Starts the task of a deleted definition unless it runs.
    pub fn start(&self, app: &Arc<App>, definition: &Arc<Value>) {
        let finalizers = definition["metadata"]["finalizers"].as_array();
        if !finalizers.is_some_and(|list| list.iter().any(|name| name == row::CLEANUP)) {
            return;
        }
        let uid = api::meta::uid(definition).to_owned();
        if !self.0.lock().insert(uid.clone()) {
            return;
        }
        let (app, definition, running) = (app.clone(), definition.clone(), self.0.clone());
        tokio::spawn(async move {
            clean_up(&app, &definition).await;
            running.lock().remove(&uid);
        });
    }
}

async fn clean_up(app: &App, definition: &Value) {
    change(app, definition, |current| {
        conditions::terminating(current).map_or(Next::Keep, Next::Put)
    })
    .await;
    let group = definition["spec"]["group"].as_str().unwrap_or_default();
    let plural = definition["spec"]["names"]["plural"].as_str().unwrap_or_default();
    let collection = Collection::of(group, plural);
    loop {
        let cached = app.cache.collection(&collection);
        let (items, _, mut subscription) = cached.subscribe_now(Interest::default());
        if items.is_empty() {
            break;
        }
        for item in &items {
            delete(app, &collection, item).await;
        }
        // Objects with finalizers of their own go when those are gone.
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            _ = subscription.future.recv() => {}
        }
    }
    change(app, definition, |current| {
        let mut object = current.clone();
        let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let rest: Vec<Value> = finalizers.into_iter().filter(|name| name != row::CLEANUP).collect();
        let gone = rest.is_empty();
        object["metadata"]["finalizers"] = Value::Array(rest);
        if gone { Next::Delete(object) } else { Next::Put(object) }
    })
    .await;
}

/// Deletes an object, or marks it where finalizers hold it. A lost race is seen as a change of the collection.
async fn delete(app: &App, collection: &Collection, item: &Item) {
    let metadata = &item.value()["metadata"];
    let held = metadata["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    if held && metadata.get("deletionTimestamp").is_some() {
        return;
    }
    let key = collection.key(item.namespace(), item.name());
    let write = if held {
        let mut marked = (**item.value()).clone();
        marked["metadata"]["deletionTimestamp"] = json!(clock::now());
        marked["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        Write::Put(key.clone(), encode(&marked))
    } else {
        Write::Delete(key.clone())
    };
    let guards = vec![Guard::Unchanged(key, Revision(item.revision))];
    if let Err(error) = app.store.commit(Transaction { guards, writes: vec![write] }).await {
        tracing::warn!(%error, "failed to delete an object of a deleted definition");
    }
}
