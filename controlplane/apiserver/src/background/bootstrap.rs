//! Objects that every cluster has, created at start where they are missing.

use api::{Status, meta, rules};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::{
    app::App,
    clock,
    commit::{self, Place},
    errors,
};

/// Objects that are created at a time: they share commits.
const AT_A_TIME: usize = 64;

/// Creates the default namespaces, roles, bindings, classes and priority levels.
pub async fn create_defaults(app: &App) -> Result<(), Status> {
    let mut objects = access::bootstrap::default_objects();
    objects.extend(crate::flow::default_objects());
    objects.push(access::bootstrap::extension_authentication(&app.pki));
    objects.push(access::bootstrap::cluster_info(&app.url(), app.pki.ca_pem()));
    futures::stream::iter(objects.into_iter().map(|object| create(app, object)))
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await
}

/// Creates one object of the server's own unless it is there.
pub async fn create(app: &App, mut object: Value) -> Result<(), Status> {
    let kind = kind_of(app, &object)?;
    let place = Place::new(&kind, meta::namespace(&object), meta::name(&object));
    if app.cache.get(&place.collection, &place.namespace, &place.name).is_some() {
        return Ok(());
    }
    object["metadata"]["uid"] = json!(uuid::Uuid::new_v4().to_string());
    object["metadata"]["creationTimestamp"] = json!(clock::now());
    rules::set_defaults(&kind, &mut object);
    rules::prepare_create(&kind, &mut object);
    commit::insert(app, &place, &object, false).await?;
    Ok(())
}

/// The row of an object by its apiVersion and kind.
pub fn kind_of(app: &App, object: &Value) -> Result<std::sync::Arc<api::Kind>, Status> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let registry = app.registry.load();
    let found = registry
        .version(group, version)
        .and_then(|version| version.kinds.iter().find(|kind| object["kind"] == *kind.kind));
    found.cloned().ok_or_else(|| errors::internal(format!("no kind {}", object["kind"])))
}
