//! Fields that no schema speaks of. Upstream `schema/pruning` and `schema/objectmeta`.

use serde_json::Value;

use super::{Schema, child};
use crate::{rules::problems::Problems, schema};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Removes unknown fields of a whole object; their paths, sorted.
pub fn prune(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(schema, object, true, "", &mut unknown);
    unknown.sort();
    unknown
}

fn walk(schema: &Schema, value: &mut Value, root: bool, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if root || schema.embedded {
                if let Some(metadata) = fields.get_mut("metadata") {
                    prune_metadata(metadata, &child(path, "metadata"), unknown);
                }
            }
            fields.retain(|name, value| {
                let metadata = (root || schema.embedded) && name == "metadata";
                match schema.field(name) {
                    Some(_) if metadata => true,
                    Some(of) => {
                        walk(of, value, false, &child(path, name), unknown);
                        true
                    }
                    None if schema.keeps(name, root) => true,
                    None => {
                        unknown.push(child(path, name));
                        false
                    }
                }
            });
        }
        Value::Array(items) => {
            let Some(of) = &schema.items else { return };
            for (index, item) in items.iter_mut().enumerate() {
                walk(of, item, false, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn prune_metadata(metadata: &mut Value, path: &str, unknown: &mut Vec<String>) {
    let found = schema::unknown_fields(OBJECT_META, metadata);
    for text in found {
        let name = text.split('"').nth(1).unwrap_or(&text).to_owned();
        if let Some(fields) = metadata.as_object_mut() {
            fields.remove(&name);
        }
        unknown.push(child(path, &name));
    }
}

/// An embedded object needs to say what it is.
pub fn embedded_problems(schema: &Schema, value: &Value, path: &str, problems: &mut Problems) {
    if schema.embedded && value.is_object() {
        for field in ["apiVersion", "kind"] {
            if value[field].as_str().unwrap_or_default().is_empty() {
                problems.required(&child(path, field), "must not be empty");
            }
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(of) = schema.field(name) {
                    embedded_problems(of, value, &child(path, name), problems);
                }
            }
        }
        Value::Array(items) => {
            let Some(of) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                embedded_problems(of, item, &format!("{path}[{index}]"), problems);
            }
        }
        _ => {}
    }
}
