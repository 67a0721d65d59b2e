//! `ApplyConfiguration`: what an expression builds is merged into the object as server-side apply merges, but owns
//! nothing. Upstream: `admission/plugin/policy/mutating/patch/smd.go`.

use api::patch::apply;
use serde_json::{Value, json};

use crate::admission::{matching::equivalent::Matched, request::Request};

/// The manager under which the merge is made; it leaves no trace.
const MANAGER: &str = "mutating-admission-policy";

/// The object with the configuration merged in.
pub fn apply(
    request: &Request<'_>,
    matched: &Matched,
    object: &Value,
    configuration: &Value,
) -> Result<Value, String> {
    let wanted = complete(object, configuration)?;
    let managers = object["metadata"].get("managedFields").cloned();
    let mut bare = object.clone();
    if let Some(metadata) = bare["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    let registry = request.call.app.registry.load();
    let custom = registry.custom_schema(&matched.kind);
    let now = crate::clock::now();
    let writer = apply::Writer { manager: MANAGER, subresource: "", now: &now, force: true };
    let merged = apply::apply_custom(&matched.kind, custom, Some(&bare), &wanted, &writer);
    let mut merged = merged.map_err(|status| status.message)?;
    if let Some(metadata) = merged["metadata"].as_object_mut() {
        match managers {
            Some(managers) => drop(metadata.insert("managedFields".into(), managers)),
            None => drop(metadata.remove("managedFields")),
        }
    }
    Ok(merged)
}

/// The configuration with what identifies the object.
fn complete(object: &Value, configuration: &Value) -> Result<Value, String> {
    let mut wanted = configuration.clone();
    if !wanted.is_object() {
        return Err("the expression results in no object".into());
    }
    for field in ["apiVersion", "kind"] {
        wanted[field] = object[field].clone();
    }
    if !wanted["metadata"].is_object() {
        wanted["metadata"] = json!({});
    }
    for field in ["name", "namespace"] {
        if let Some(value) = object["metadata"].get(field) {
            wanted["metadata"][field] = value.clone();
        }
    }
    Ok(wanted)
}
