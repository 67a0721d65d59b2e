//! POST to a collection.

use std::sync::Arc;

use api::{Kind, Scope, Status, meta, patch, rules};
use http::StatusCode;
use rand::Rng;
use serde_json::{Value, json};

use crate::{
    admission::{self, Operation},
    cache::Item,
    call::Call,
    clock,
    commit::{self, Place},
    convert, errors,
    respond::{self, Reply},
};

/// Names tried for a `generateName` before giving up, as upstream.
const GENERATED_NAMES_MAX: usize = 8;
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
    let generate = choose_name(&kind, &mut object)?;
    let tries = if generate.is_some() { GENERATED_NAMES_MAX } else { 1 };
    for _ in 0..tries {
        let mut attempt = object.clone();
        if let Some(prefix) = &generate {
            attempt["metadata"]["name"] = json!(generated_name(prefix));
        }
        if let Some(item) = create_named(call, &kind, attempt).await? {
            return Ok(item);
        }
    }
    let name = generate.unwrap_or_else(|| meta::name(&object).to_owned());
    Err(errors::already_exists(&kind, &name))
}

async fn create_named(
    call: &Call,
    kind: &Kind,
    mut object: Value,
) -> Result<Option<Arc<Item>>, Status> {
    stamp_new(&mut object);
    rules::set_defaults(kind, &mut object);
    let _allocation = admission::mutate(call, &mut object).await?;
    rules::prepare_create(kind, &mut object);
    let (manager, now) = (call.manager(), clock::now());
    if call.verb != "patch" || call.header(http::header::CONTENT_TYPE) != APPLY_PATCH {
        let registry = call.app.registry.load();
        let custom = registry.custom_schema(kind);
        patch::apply::track_custom(kind, custom, None, &mut object, &call.writer(&manager, &now));
    }
    let name = meta::name(&object).to_owned();
    let causes = rules::validate(kind, &object, None);
    if !causes.is_empty() {
        return Err(rules::invalid(kind, &name, causes));
    }
    admission::validate(call, Operation::Create, Some(&object), None)?;
    let place = Place::new(kind, meta::namespace(&object), &name);
    let stored = convert::to_stored(kind, object);
    commit::insert(&call.app, &place, &stored, call.query.dry_run()?).await
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

/// System metadata of a new object; what the client sent for it is dropped.
fn stamp_new(object: &mut Value) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    for field in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        metadata.remove(field);
    }
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
