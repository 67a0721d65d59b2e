//! APIGroupDiscoveryList: everything in one document.

use api::{Kind, Scope};
use serde_json::{Value, json};

use crate::registry::{Group, Registry};

/// The document of `/api` (`core`) or `/apis`.
#[must_use]
pub fn document(registry: &Registry, core: bool, version: &str) -> Value {
    let groups: Vec<Value> = registry
        .groups
        .iter()
        .filter(|group| group.name.is_empty() == core)
        .map(describe)
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": groups,
    })
}

fn describe(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            let resources: Vec<Value> = version.kinds.iter().map(|kind| resource(kind)).collect();
            json!({"version": version.name, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.name.is_empty() {
        metadata["name"] = json!(group.name);
    }
    json!({"metadata": metadata, "versions": versions})
}

fn resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let subresources: Vec<Value> = kind
            .subresources
            .iter()
            .map(|sub| {
                let own = sub.kind.is_empty();
                json!({
                    "subresource": sub.name, "verbs": sub.verbs,
                    "responseKind": {
                        "group": if own { &kind.group } else { &sub.group },
                        "version": if own || sub.version.is_empty() { &kind.version } else { &sub.version },
                        "kind": if own { &kind.kind } else { &sub.kind },
                    },
                })
            })
            .collect();
        resource["subresources"] = json!(subresources);
    }
    resource
}
