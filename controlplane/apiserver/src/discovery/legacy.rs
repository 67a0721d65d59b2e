//! APIVersions, APIGroupList, APIGroup and APIResourceList.

use api::{Kind, Scope, kind::Subresource};
use serde_json::{Value, json};

use crate::{
    convert,
    registry::{Group, Registry},
};

/// `/api`.
#[must_use]
pub fn core_versions(url: &str) -> Value {
    let address = url.trim_start_matches("https://");
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
#[must_use]
pub fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> =
        registry.groups.iter().filter(|group| !group.name.is_empty()).map(describe).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
#[must_use]
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let mut group = describe(registry.group(name).filter(|group| !group.name.is_empty())?);
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    Some(group)
}

fn describe(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{}/{}", group.name, v.name), "version": v.name}))
        .collect();
    json!({"name": group.name, "versions": versions, "preferredVersion": versions.first()})
}

/// `/api/v1` and `/apis/<group>/<version>`.
#[must_use]
pub fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let found = registry.version(group, version)?;
    let mut resources = Vec::new();
    for kind in &found.kinds {
        resources.push(resource(kind));
        resources.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources,
    }))
}

fn resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "name": kind.plural, "singularName": kind.singular, "kind": kind.kind,
        "namespaced": kind.scope == Scope::Namespaced, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    if kind.verbs.iter().any(|verb| verb == "list") {
        resource["storageVersionHash"] = json!(storage_hash(kind));
    }
    resource
}

/// Changes when objects are stored in another version: who migrates them looks at it. Upstream:
/// `apiserver/pkg/endpoints/discovery/storageversionhash.go`.
fn storage_hash(kind: &Kind) -> String {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let stored = convert::stored_api_version(kind);
    let slash = if stored.contains('/') { "" } else { "/" };
    let path = format!("{slash}{stored}/{}", kind.kind);
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(path)[..8])
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let mut resource = json!({
        "name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
        "kind": if sub.kind.is_empty() { &kind.kind } else { &sub.kind },
        "namespaced": kind.scope == Scope::Namespaced, "verbs": sub.verbs,
    });
    if !sub.kind.is_empty() && !sub.version.is_empty() && sub.group != kind.group {
        resource["group"] = json!(sub.group);
        resource["version"] = json!(sub.version);
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_what_is_stored() {
        for (group, plural, expect) in [
            ("", "pods", "xPOwRZ+Yhw8="),
            ("apps", "deployments", "8aSe+NMegvE="),
            ("", "events", "r2yiGXH7wu8="),
            ("events.k8s.io", "events", "r2yiGXH7wu8="),
        ] {
            let all = api::kinds();
            let kind = all.iter().find(|one| one.group == group && one.plural == plural).unwrap();
            assert_eq!(storage_hash(kind), expect, "{group}/{plural}");
        }
    }
}
