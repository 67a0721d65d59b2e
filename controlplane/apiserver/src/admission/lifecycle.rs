//! NamespaceLifecycle: nothing is created in a namespace that does not exist or is going away, and some namespaces
//! never go.

use std::time::Duration;

use api::{Scope, Status, meta, status::Cause};
use serde_json::{Value, json};

use super::request::{Operation, Request};
use crate::{app::App, errors, keys::Collection};

/// Namespaces that the cluster cannot live without.
const PERMANENT: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];
/// How long a namespace that another API server may just have made is waited for; upstream looks once more after 50 ms.
const MISSING_WAIT: Duration = Duration::from_millis(50);

pub async fn admit(request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    if !request.is_create() {
        return Ok(());
    }
    if request.is("", "namespaces") {
        prepare(object);
    }
    if request.kind().scope == Scope::Cluster {
        return Ok(());
    }
    let name = &request.namespace;
    let Some(namespace) = find(&request.call.app, name).await else {
        return Err(missing(name));
    };
    if namespace["metadata"].get("deletionTimestamp").is_none() {
        return Ok(());
    }
    Err(terminating(request, object, name))
}

async fn find(app: &App, name: &str) -> Option<std::sync::Arc<Value>> {
    let namespaces = Collection::of("", "namespaces");
    let get = || app.cache.get(&namespaces, "", name).map(|item| item.value().clone());
    if let Some(namespace) = get() {
        return Some(namespace);
    }
    // With one writer the cache is complete.
    if app.config.store == crate::config::StoreKind::Embedded {
        return None;
    }
    let synced = tokio::time::timeout(MISSING_WAIT, app.sync_reads()).await;
    if !matches!(synced, Ok(Ok(()))) {
        tracing::debug!(namespace = name, "the cache did not catch up in time");
    }
    get()
}

fn terminating(request: &Request<'_>, object: &Value, name: &str) -> Status {
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = request.refuse(object, &why);
    status.causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".into(),
    });
    status
}

fn missing(name: &str) -> Status {
    Status {
        kind: "namespaces".into(),
        name: name.into(),
        ..Status::new(api::Reason::NotFound, format!("namespaces {name:?} not found"))
    }
}

pub fn validate(request: &Request<'_>, old: &Value) -> Result<(), Status> {
    if request.operation != Operation::Delete || !request.is("", "namespaces") {
        return Ok(());
    }
    let name = meta::name(old);
    if PERMANENT.contains(&name) {
        return Err(errors::forbidden(request.kind(), name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// What every namespace carries, so that selectors can name it.
fn prepare(namespace: &mut Value) {
    let name = meta::name(namespace).to_owned();
    if !name.is_empty() {
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
    }
}
