//! A definition's served versions as rows of the table of kinds. Pure.

use std::sync::Arc;

use api::{
    Kind, Scope,
    kind::Subresource,
    structural::{self, Custom, ScalePaths},
};
use serde_json::Value;

/// Holds a definition until its instances are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

const VERBS: [&str; 8] =
    ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// Rows made before, to take parsed schemas from.
pub type Known<'a> = &'a dyn Fn(&str, &str, &str) -> Option<Arc<Custom>>;

/// One row per served version of an established definition.
#[must_use]
pub fn rows(definition: &Value, known: Known<'_>) -> Vec<Kind> {
    if !super::conditions::is_established(definition) {
        return Vec::new();
    }
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array().cloned().unwrap_or_default();
    let stored = versions.iter().find(|version| version["storage"] == true);
    let stored = stored.and_then(|version| version["name"].as_str()).unwrap_or("v1").to_owned();
    versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| row(definition, version, &stored, known))
        .collect()
}

fn row(definition: &Value, version: &Value, stored: &str, known: Known<'_>) -> Kind {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&names["kind"]);
    let or = |value: &Value, default: String| match value.as_str() {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => default,
    };
    Kind {
        group: text(&spec["group"]),
        version: text(&version["name"]),
        storage_version: stored.to_owned(),
        list_kind: or(&names["listKind"], format!("{kind}List")),
        plural: text(&names["plural"]),
        singular: or(&names["singular"], kind.to_lowercase()),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        scope: if spec["scope"] == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        verbs: verbs(definition),
        subresources: subresources(&version["subresources"]),
        selectable_fields: selectable(&version["selectableFields"]),
        schema: String::new(),
        columns: api::columns::custom(&version["additionalPrinterColumns"]),
        deprecation: deprecation(spec, version, &kind),
        custom: Some(custom(definition, version, stored, known)),
        kind,
    }
}

/// The version's own words, or upstream's.
fn deprecation(spec: &Value, version: &Value, kind: &str) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    let own = version["deprecationWarning"].as_str().map(str::to_owned);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, version) = (text(&spec["group"]), text(&version["name"]));
    Some(own.unwrap_or_else(|| format!("{group}/{version} {kind} is deprecated")))
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn selectable(list: &Value) -> Vec<String> {
    let paths = list.as_array().into_iter().flatten().filter_map(|one| one["jsonPath"].as_str());
    paths.map(|path| path.trim_start_matches('.').to_owned()).collect()
}

fn subresources(served: &Value) -> Vec<Subresource> {
    let verbs = || ["get", "patch", "update"].map(str::to_owned).to_vec();
    let mut list = Vec::new();
    if served.get("status").is_some() {
        list.push(Subresource {
            name: "status".into(),
            group: String::new(),
            version: String::new(),
            kind: String::new(),
            verbs: verbs(),
        });
    }
    if served.get("scale").is_some() {
        list.push(Subresource {
            name: "scale".into(),
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
            verbs: verbs(),
        });
    }
    list
}

/// A definition that is going away takes no new objects.
fn verbs(definition: &Value) -> Vec<String> {
    let terminating = definition["metadata"].get("deletionTimestamp").is_some();
    let verbs = VERBS.into_iter().filter(|verb| !(terminating && *verb == "create"));
    verbs.map(str::to_owned).collect()
}

fn custom(definition: &Value, version: &Value, stored: &str, known: Known<'_>) -> Arc<Custom> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let raw = &version["schema"]["openAPIV3Schema"];
    let generation = definition["metadata"]["generation"].as_i64().unwrap_or(1);
    let name = api::meta::name(definition).to_owned();
    let (group, own) = (text(&spec["group"]), text(&version["name"]));
    let before = known(&group, &own, &text(&spec["names"]["plural"]));
    if let Some(before) = &before
        && before.definition == (name.clone(), generation)
        && before.raw == *raw
    {
        return before.clone();
    }
    let webhook = (spec["conversion"]["strategy"] == "Webhook")
        .then(|| spec["conversion"]["webhook"].clone());
    Arc::new(Custom {
        schema: structural::parse(raw),
        raw: raw.clone(),
        // Objects written under the first generation were pruned and defaulted by the schema that is still in force,
        // if there is but one.
        rewrite_on_read: generation > 1
            || own != stored
            || spec["versions"].as_array().is_some_and(|all| all.len() > 1),
        scale: scale(&version["subresources"]["scale"]),
        webhook,
        definition: (name, generation),
    })
}

fn scale(paths: &Value) -> Option<ScalePaths> {
    let path = |field: &str| Some(paths[field].as_str()?.trim_start_matches('.').to_owned());
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath")?,
        status_replicas: path("statusReplicasPath")?,
        label_selector: path("labelSelectorPath"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_makes_a_row_per_served_version() {
        let definition = json!({"metadata": {"name": "machines.metal.bulkhead.io", "generation": 1},
            "status": {"conditions": [{"type": "Established", "status": "True"}]}, "spec": {"group": "metal.bulkhead.io", "scope": "Cluster",
            "names": {"kind": "Machine", "plural": "machines", "shortNames": ["mc"]},
            "versions": [
                {"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                 "additionalPrinterColumns": [{"name": "State", "type": "string", "jsonPath": ".status.state"}]},
                {"name": "v0", "served": false, "storage": false},
                {"name": "v1alpha0", "served": true, "storage": false, "deprecated": true}]}});
        let rows = rows(&definition, &|_, _, _| None);
        let warnings: Vec<Option<&str>> =
            rows.iter().map(|row| row.deprecation.as_deref()).collect();
        assert_eq!(warnings, [None, Some("metal.bulkhead.io/v1alpha0 Machine is deprecated")]);
        let kind = &rows[0];
        assert_eq!((kind.list_kind.as_str(), kind.singular.as_str()), ("MachineList", "machine"));
        assert_eq!(kind.columns.len(), 2);
        assert_eq!(kind.subresources[0].name, "status");
    }
}
