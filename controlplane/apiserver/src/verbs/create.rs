//! POST to a collection.

use std::sync::Arc;

use api::{Kind, Scope, Status, meta, patch, rules};
use http::StatusCode;
use rand::Rng;
use serde_json::{Value, json};

use crate::{
    admission::{self, Request},
    cache::Item,
    call::Call,
    clock,
    commit::{self, Inserted, Place},
    custom::{self, conversion},
    errors,
    respond::{self, Reply},
};

/// Names tried for a `generateName` before giving up, as upstream.
const GENERATED_NAMES_MAX: usize = 8;
/// How often a creation is charged anew because a quota changed meanwhile.
const QUOTA_RACES_MAX: usize = 20;
/// Letters of generated suffixes: no vowels, so no words.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// What is left of a prefix so that the suffix fits into a label.
const PREFIX_MAX: usize = 63 - SUFFIX_LENGTH;

pub async fn create(mut call: Call) -> Result<Reply, Status> {
    let kind = call.kind.clone();
    let object = call.read_object(&kind).await?;
    let item = create_object(&call, object).await?;
    Ok(respond::item(&call, StatusCode::CREATED, &item))
}

/// Creates an object of the call's kind; server-side apply comes here too.
pub async fn create_object(call: &Call, mut object: Value) -> Result<Arc<Item>, Status> {
    let kind = call.kind.clone();
    place_in_namespace(call, &kind, &mut object)?;
    drop_system_fields(&mut object);
    rules::set_defaults(&kind, &mut object);
    custom::set_defaults(&kind, &mut object);
    let mut request = Request::create(call, &object)?;
    admission::mutate(&request, &mut object, &Value::Null).await?;
    let generate = choose_name(&kind, &mut object)?;
    let tries = if generate.is_some() { GENERATED_NAMES_MAX } else { 1 };
    for _ in 0..tries {
        let mut attempt = object.clone();
        if let Some(prefix) = &generate {
            attempt["metadata"]["name"] = json!(generated_name(prefix));
        }
        meta::name(&attempt).clone_into(&mut request.name);
        if let Some(item) = create_named(&request, attempt).await? {
            return Ok(item);
        }
    }
    let name = generate.unwrap_or_else(|| meta::name(&object).to_owned());
    Err(errors::already_exists(&kind, &name))
}

async fn create_named(
    request: &Request<'_>,
    mut object: Value,
) -> Result<Option<Arc<Item>>, Status> {
    let (call, kind) = (request.call, request.kind());
    stamp_new(&mut object);
    let _allocation = admission::allocate_new(call, &mut object).await?;
    rules::prepare_create(kind, &mut object);
    admission::fill_status(kind, &mut object);
    let (manager, now) = (call.manager(), clock::now());
    if call.verb != "patch" || call.header(http::header::CONTENT_TYPE) != APPLY_PATCH {
        let registry = call.app.registry.load();
        let custom = registry.custom_schema(kind);
        patch::apply::track_custom(kind, custom, None, &mut object, &call.writer(&manager, &now));
    }
    let name = meta::name(&object).to_owned();
    let causes = custom::validate(&call.app, kind, &object, None);
    if !causes.is_empty() {
        return Err(rules::invalid(kind, &name, causes));
    }
    admission::validate(request, &object, &Value::Null).await?;
    insert(request, object).await
}

/// Charges quotas and writes, both or neither; again when a quota changed in between.
async fn insert(request: &Request<'_>, object: Value) -> Result<Option<Arc<Item>>, Status> {
    let (call, kind) = (request.call, request.kind());
    let place = Place::new(kind, meta::namespace(&object), meta::name(&object));
    let stored = conversion::to_stored(&call.app, kind, object.clone()).await?;
    for _ in 0..QUOTA_RACES_MAX {
        let charge = admission::charge(request, &object, &Value::Null).await?;
        let riders = &charge.riders;
        match commit::insert_with(&call.app, &place, &stored, request.dry_run, riders).await? {
            Inserted::Done(item) => return Ok(Some(conversion::as_sent(kind, &object, item))),
            Inserted::Exists => return Ok(None),
            Inserted::RiderMoved => {}
        }
    }
    let why = "the quota of the namespace changed too often; please try again";
    Err(errors::conflict(kind, &place.name, why))
}

/// The media type of server-side apply.
pub const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Sets or checks `metadata.namespace` against the path.
pub fn place_in_namespace(call: &Call, kind: &Kind, object: &mut Value) -> Result<(), Status> {
    let given = meta::namespace(object).to_owned();
    if kind.scope == Scope::Cluster {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        return Ok(());
    }
    let asked = call.target.namespace.as_str();
    if asked.is_empty() {
        return Err(errors::bad_request("an empty namespace may not be set during creation"));
    }
    if !given.is_empty() && given != asked {
        return Err(errors::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({given} != {asked})"
        )));
    }
    object["metadata"]["namespace"] = json!(asked);
    Ok(())
}

/// The `generateName` prefix when the server must choose the name.
fn choose_name(kind: &Kind, object: &mut Value) -> Result<Option<String>, Status> {
    if !meta::name(object).is_empty() {
        return Ok(None);
    }
    let prefix = meta::text(object, "generateName").to_owned();
    if prefix.is_empty() {
        return Err(errors::invalid(
            kind,
            "",
            "metadata.name",
            "FieldValueRequired",
            "Required value: name or generateName is required",
        ));
    }
    Ok(Some(prefix))
}

fn generated_name(prefix: &str) -> String {
    let mut name: String = prefix.chars().take(PREFIX_MAX).collect();
    name.push_str(&random_suffix());
    name
}

/// Five letters that make no word, as generated names end with.
#[must_use]
pub fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..SUFFIX_LENGTH)
        .map(|_| char::from(SUFFIX_LETTERS[rng.random_range(0..SUFFIX_LETTERS.len())]))
        .collect()
}

/// What the client sent for system metadata is dropped.
fn drop_system_fields(object: &mut Value) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    for field in [
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        metadata.remove(field);
    }
}

/// System metadata of a new object.
fn stamp_new(object: &mut Value) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    metadata.insert("uid".into(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".into(), json!(clock::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_a_label() {
        let name = generated_name(&"x".repeat(80));
        assert_eq!(name.len(), 63);
        assert!(generated_name("a-").starts_with("a-"));
    }
}
