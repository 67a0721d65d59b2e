//! PATCH in its four forms.

use api::{Status, patch};
use http::{StatusCode, header};
use serde_json::Value;

use super::{
    create::{self, APPLY_PATCH},
    update::change,
};
use crate::{
    body::{self, Decoded},
    call::Call,
    clock, errors,
    respond::{self, Reply},
};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// Operations in one JSON patch, as upstream.
const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// Which patch format a request uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Format {
    /// By media type; 415 with the possible ones otherwise.
    pub fn of(content_type: &str, builtin: bool) -> Result<Self, Status> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            JSON_PATCH => Ok(Self::Json),
            MERGE_PATCH => Ok(Self::Merge),
            STRATEGIC_PATCH if builtin => Ok(Self::Strategic),
            APPLY_PATCH => Ok(Self::Apply),
            _ => {
                let strategic =
                    if builtin { ", application/strategic-merge-patch+json" } else { "" };
                Err(Status::new(
                    api::Reason::UnsupportedMediaType,
                    format!(
                        "the body of the request was in an unknown format - accepted media types \
                         include: {JSON_PATCH}, {MERGE_PATCH}, {APPLY_PATCH}{strategic}"
                    ),
                ))
            }
        }
    }
}

pub async fn patch(mut call: Call) -> Result<Reply, Status> {
    let builtin = !call.kind.schema.is_empty();
    let format = Format::of(call.header(header::CONTENT_TYPE), builtin)?;
    let bytes = call.read_body().await?;
    if format == Format::Apply {
        return apply(call, &bytes).await;
    }
    let decoded = body::decode("application/json", &bytes)?;
    check_size(format, &decoded.object)?;
    let item = change(&call, &mut |old| {
        let patched = patched(format, &call.kind.schema, old, &decoded.object)?;
        let whole =
            Decoded { object: patched, duplicates: decoded.duplicates.clone(), typed: false };
        call.warnings.lock().clear();
        call.check_fields(&call.kind, whole)
    })
    .await?;
    Ok(respond::item(&call, StatusCode::OK, &item))
}

fn check_size(format: Format, patch: &Value) -> Result<(), Status> {
    let Some(operations) = patch.as_array().filter(|_| format == Format::Json) else {
        return Ok(());
    };
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(Status::new(
            api::Reason::RequestEntityTooLarge,
            format!(
                "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
                operations.len()
            ),
        ));
    }
    Ok(())
}

/// Applies a patch to a tree. Scale and other subresource bodies use it with their own schema.
pub fn patched(format: Format, schema: &str, old: &Value, patch: &Value) -> Result<Value, Status> {
    match format {
        Format::Json => patch::json_patch(old, patch),
        Format::Merge => Ok(patch::merge_patch(old, patch)),
        Format::Strategic => patch::strategic_merge(schema, old, patch),
        Format::Apply => Err(errors::internal("apply is not a patch of one tree")),
    }
}

/// Server-side apply: the object is created when it is not there.
async fn apply(call: Call, bytes: &[u8]) -> Result<Reply, Status> {
    if call.query.get("fieldManager").is_empty() {
        let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(Status::new(api::Reason::Invalid, message));
    }
    let decoded = body::decode("application/yaml", bytes)?;
    if decoded.object["metadata"]["managedFields"].as_array().is_some_and(|list| !list.is_empty()) {
        return Err(errors::bad_request("metadata.managedFields must be nil"));
    }
    // Duplicate fields come first, and are judged as `fieldValidation` asks.
    if decoded.duplicates.is_empty() {
        check_declared(&call, &decoded.object)?;
    }
    let config = config_for(&call, call.check_fields(&call.kind, decoded)?)?;
    let exists = call.app.cache.get(&call.collection, call.namespace(), &call.target.name);
    if exists.is_none() && call.target.subresource.is_empty() {
        return apply_new(call, config).await;
    }
    let registry = call.app.registry.load_full();
    let custom = registry.custom_schema(&call.kind);
    let item = change(&call, &mut |old| {
        let (manager, now) = (call.manager(), clock::now());
        let writer = call.writer(&manager, &now);
        patch::apply::apply_custom(&call.kind, custom, Some(old), &config, &writer)
    })
    .await?;
    Ok(respond::item(&call, StatusCode::OK, &item))
}

async fn apply_new(call: Call, config: Value) -> Result<Reply, Status> {
    let (manager, now) = (call.manager(), clock::now());
    let writer = call.writer(&manager, &now);
    let registry = call.app.registry.load_full();
    let custom = registry.custom_schema(&call.kind);
    let object = patch::apply::apply_custom(&call.kind, custom, None, &config, &writer)?;
    let item = create::create_object(&call, object).await?;
    Ok(respond::item(&call, StatusCode::CREATED, &item))
}

/// A field without a schema cannot be owned, whatever `fieldValidation` says. Upstream:
/// `apimachinery/pkg/util/managedfields/internal/structuredmerge.go`.
fn check_declared(call: &Call, config: &Value) -> Result<(), Status> {
    let unknown = body::unknown_fields(&call.kind, config);
    let problem = |path: &String| format!(".{path}: field not declared in schema");
    let problems = match unknown.as_slice() {
        [] => return Ok(()),
        [one] => problem(one),
        many => {
            let lines: Vec<String> =
                many.iter().map(|path| format!("\n  {}", problem(path))).collect();
            format!("errors:{}", lines.concat())
        }
    };
    let (kind, namespace, name) = (&call.kind, call.namespace(), &call.target.name);
    let message = format!(
        "failed to create typed patch object ({namespace}/{name}; {}, Kind={}): {problems}",
        kind.api_version(),
        kind.kind
    );
    // Upstream's words, but as what it is: the client's mistake, not an internal error.
    Err(errors::bad_request(message))
}

fn config_for(call: &Call, mut config: Value) -> Result<Value, Status> {
    let name = api::meta::name(&config);
    if !name.is_empty() && name != call.target.name {
        return Err(errors::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.target.name
        )));
    }
    config["metadata"]["name"] = Value::from(call.target.name.as_str());
    if !call.namespace().is_empty() {
        config["metadata"]["namespace"] = Value::from(call.namespace());
    }
    Ok(config)
}
