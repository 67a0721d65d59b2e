//! NamespaceLifecycle: nothing is created in a namespace that does not exist or is going away.

use api::{Scope, Status, meta, status::Cause};
use serde_json::{Value, json};

use crate::{call::Call, errors, keys::Collection};

/// Namespaces that the cluster cannot live without.
const PERMANENT: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

pub fn check_create(call: &Call, object: &Value) -> Result<(), Status> {
    if call.kind.scope == Scope::Cluster {
        return Ok(());
    }
    let name = meta::namespace(object);
    let namespaces = Collection::of("", "namespaces");
    let Some(namespace) = call.app.cache.get(&namespaces, "", name) else {
        return Err(missing(name));
    };
    if namespace.value()["metadata"].get("deletionTimestamp").is_none() {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = errors::forbidden(&call.kind, meta::name(object), &why);
    status.causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".into(),
    });
    Err(status)
}

fn missing(name: &str) -> Status {
    Status {
        kind: "namespaces".into(),
        name: name.into(),
        ..Status::new(api::Reason::NotFound, format!("namespaces {name:?} not found"))
    }
}

pub fn check_delete(call: &Call, old: Option<&Value>) -> Result<(), Status> {
    let name = old.map(meta::name).unwrap_or_default();
    if super::is_core(call, "namespaces") && PERMANENT.contains(&name) {
        return Err(errors::forbidden(&call.kind, name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// What every namespace carries, so that selectors can name it.
pub fn prepare(namespace: &mut Value) {
    let name = meta::name(namespace).to_owned();
    namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
}
