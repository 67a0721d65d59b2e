//! CustomResourceDefinitions: rows of the table of kinds made at run time.

mod conditions;
mod row;

use std::sync::Arc;

use api::Kind;
use serde_json::Value;

use crate::{
    app::App,
    cache::{Cache, Interest},
    commit::{self, Next, Place},
    keys::Collection,
    registry::Registry,
};

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";

/// The registry of everything built in plus what the CRDs in the cache define.
#[must_use]
pub fn registry(cache: &Cache) -> Registry {
    let (definitions, _) = cache.collection(&Collection::of(GROUP, RESOURCE)).list("");
    let mut kinds = api::kinds();
    kinds.extend(crate::metrics_api::kinds());
    let mut schemas = Vec::new();
    for definition in &definitions {
        for (kind, schema) in row::rows(definition.value()) {
            schemas.push((kind.clone(), schema));
            kinds.push(kind);
        }
    }
    let mut registry = Registry::new(kinds);
    for (kind, schema) in schemas {
        registry.set_custom_schema(&kind, schema);
    }
    registry
}

/// Keeps the registry and the definitions' conditions up to date until shutdown.
pub async fn follow(app: Arc<App>) {
    loop {
        let cached = app.cache.collection(&Collection::of(GROUP, RESOURCE));
        let (present, _, mut subscription) = cached.subscribe_now(Interest::default());
        app.registry.store(Arc::new(registry(&app.cache)));
        for definition in present {
            establish(&app, definition.value()).await;
        }
        loop {
            let event = tokio::select! {
                biased;
                () = app.shutdown.cancelled() => return,
                event = subscription.future.recv() => event,
            };
            // Cut off: start over from what is there.
            let Some(event) = event else { break };
            app.registry.store(Arc::new(registry(&app.cache)));
            if !event.deleted {
                establish(&app, event.item.value()).await;
            }
        }
    }
}

/// Writes the status of a definition that lacks it.
async fn establish(app: &App, definition: &Value) {
    if definition["metadata"].get("deletionTimestamp").is_some() {
        finish_deletion(app, definition).await;
        return;
    }
    if conditions::accepted(definition).is_none() {
        return;
    }
    let write = |current: &Value| match conditions::accepted(current) {
        Some(accepted) => Next::Put(accepted),
        None => Next::Keep,
    };
    change(app, definition, write).await;
}

/// The instances go with their definition; then the finalizer goes.
async fn finish_deletion(app: &App, definition: &Value) {
    let finalizers = definition["metadata"]["finalizers"].as_array();
    if !finalizers.is_some_and(|list| list.iter().any(|name| name == row::CLEANUP)) {
        return;
    }
    let text = |field: &str| definition["spec"][field].as_str().unwrap_or_default();
    let plural = definition["spec"]["names"]["plural"].as_str().unwrap_or_default();
    let collection = Collection::of(text("group"), plural);
    let (items, _) = app.cache.collection(&collection).list("");
    for item in items {
        let transaction = store::Transaction {
            guards: Vec::new(),
            writes: vec![store::Write::Delete(collection.key(item.namespace(), item.name()))],
        };
        if let Err(error) = app.store.commit(transaction).await {
            tracing::warn!(%error, "failed to delete an instance of a deleted definition");
            return;
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

async fn change(app: &App, definition: &Value, decide: impl Fn(&Value) -> Next) {
    let registry = app.registry.load_full();
    let Some(kind) = registry.find(GROUP, "v1", RESOURCE) else { return };
    let kind: Kind = (**kind).clone();
    let name = api::meta::name(definition);
    let place = Place::new(&kind, "", name);
    let written =
        commit::update(app, &kind, &place, false, |current| Ok(decide(current.value()))).await;
    if let Err(status) = written {
        tracing::warn!(%status, definition = name, "failed to write a definition's status");
    }
}
