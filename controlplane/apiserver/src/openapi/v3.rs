//! One OpenAPI v3 document per group and version, built when first asked for.

use std::collections::HashMap;

use api::{Kind, schema};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    document_path,
    paths::{self, DELETE_OPTIONS, PATCH, STATUS},
    v2, v2_protobuf,
};
use crate::registry::{Registry, Version};

/// Built documents by path and hash. One entry per path: an older hash is replaced.
#[derive(Debug, Default)]
pub struct Documents {
    built: Mutex<HashMap<String, (String, Bytes)>>,
}

impl Documents {
    /// The document's JSON.
    pub fn get(&self, registry: &Registry, group: &str, version: &Version) -> Bytes {
        let path = document_path(group, &version.name);
        let hash = hash(registry, version);
        if let Some((built, text)) = self.built.lock().get(&path)
            && *built == hash
        {
            return text.clone();
        }
        let document = build(registry, &path, version);
        let text = Bytes::from(serde_json::to_vec(&document).expect("trees encode"));
        self.built.lock().insert(path, (hash, text.clone()));
        text
    }

    /// The v2 document and its hash.
    pub fn whole(&self, registry: &Registry, protobuf: bool) -> (String, Bytes) {
        let path = if protobuf { "v2 protobuf" } else { "v2" };
        let versions = || registry.groups.iter().flat_map(|group| &group.versions);
        let mut hasher = Sha256::new();
        versions().for_each(|version| hasher.update(hash(registry, version)));
        let hash = hex::encode_upper(hasher.finalize());
        if let Some((built, text)) = self.built.lock().get(path)
            && *built == hash
        {
            return (hash, text.clone());
        }
        let parts = registry.groups.iter().flat_map(|group| {
            group
                .versions
                .iter()
                .map(|version| build(registry, &document_path(&group.name, &version.name), version))
        });
        let document = v2::document(parts.collect());
        let text = if protobuf {
            Bytes::from(v2_protobuf::encode(&document))
        } else {
            Bytes::from(serde_json::to_vec(&document).expect("trees encode"))
        };
        self.built.lock().insert(path.to_owned(), (hash.clone(), text.clone()));
        (hash, text)
    }
}

/// Names the content of a document without building it: rows of the table and schemas of definitions decide it.
#[must_use]
pub fn hash(registry: &Registry, version: &Version) -> String {
    let mut hasher = Sha256::new();
    hasher.update(env!("CARGO_PKG_VERSION"));
    for kind in &version.kinds {
        hasher.update(format!("{kind:?}"));
        if let Some(schema) = registry.custom_schema(kind) {
            hasher.update(schema.to_string());
        }
    }
    hex::encode_upper(hasher.finalize())
}

fn build(registry: &Registry, path: &str, version: &Version) -> Value {
    let mut components = Map::new();
    let mut all_paths = Map::new();
    for kind in &version.kinds {
        let name = component_name(kind);
        if kind.schema.is_empty() {
            components.insert(name.clone(), custom_schema(registry, kind));
            components.extend(schema::openapi_components(LIST_META));
            components.extend(schema::openapi_components(OBJECT_META));
        } else {
            for (name, component) in schema::openapi_components(&kind.schema) {
                components.entry(name).or_insert(component);
            }
            mark(&mut components, &name, kind);
        }
        components.insert(format!("{name}List"), list_schema(kind, &name));
        for body in paths::add(&mut all_paths, path, kind, &name) {
            components.extend(schema::openapi_components(body));
        }
    }
    components.extend(schema::openapi_components(DELETE_OPTIONS));
    components.extend(schema::openapi_components(STATUS));
    components.insert(PATCH.into(), json!({"type": "object", "description":
        "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body."}));
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": crate::serve::GIT_VERSION},
        "paths": all_paths,
        "components": {"schemas": components},
    })
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// The component of a kind: its schema's name, or the reversed group for custom resources.
#[must_use]
pub fn component_name(kind: &Kind) -> String {
    if !kind.schema.is_empty() {
        return kind.schema.clone();
    }
    let reversed: Vec<&str> = kind.group.split('.').rev().collect();
    format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind)
}

fn type_of(kind: &Kind) -> Value {
    json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}])
}

fn mark(components: &mut Map<String, Value>, name: &str, kind: &Kind) {
    if let Some(component) = components.get_mut(name) {
        component["x-kubernetes-group-version-kind"] = type_of(kind);
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn list_schema(kind: &Kind, name: &str) -> Value {
    json!({
        "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": reference(LIST_META),
            "items": {"type": "array", "items": reference(name)},
        },
        "x-kubernetes-group-version-kind":
            [{"group": kind.group, "version": kind.version, "kind": kind.list_kind}],
    })
}

fn custom_schema(_: &Registry, kind: &Kind) -> Value {
    super::custom::component(kind)
}
