//! A definition's served versions as rows of the table of kinds. Pure.

use api::{
    Kind, Scope,
    columns::{Cell, Column},
    kind::Subresource,
};
use serde_json::Value;

/// Holds a definition until its instances are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

const VERBS: [&str; 8] =
    ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// One row and its OpenAPI schema per served version.
#[must_use]
pub fn rows(definition: &Value) -> Vec<(Kind, Value)> {
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array().cloned().unwrap_or_default();
    let stored = versions.iter().find(|version| version["storage"] == true);
    let stored = stored.and_then(|version| version["name"].as_str()).unwrap_or("v1").to_owned();
    versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| (row(spec, version, &stored), version["schema"]["openAPIV3Schema"].clone()))
        .collect()
}

fn row(spec: &Value, version: &Value, stored: &str) -> Kind {
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
        verbs: VERBS.map(str::to_owned).to_vec(),
        subresources: subresources(&version["subresources"]),
        selectable_fields: selectable(&version["selectableFields"]),
        schema: String::new(),
        columns: columns(&version["additionalPrinterColumns"]),
        kind,
    }
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

fn columns(extra: &Value) -> Vec<Column> {
    let mut columns = vec![Column {
        name: "Name".into(),
        kind: "string".into(),
        format: "name".into(),
        description: "Name must be unique within a namespace.".into(),
        priority: 0,
        cell: Cell::Path(".metadata.name".into()),
    }];
    let extra = extra.as_array().filter(|list| !list.is_empty());
    let Some(extra) = extra else {
        columns.push(Column {
            name: "Age".into(),
            kind: "date".into(),
            format: String::new(),
            description: "CreationTimestamp of the object.".into(),
            priority: 0,
            cell: Cell::Path(".metadata.creationTimestamp".into()),
        });
        return columns;
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    columns.extend(extra.iter().map(|column| Column {
        name: text(&column["name"]),
        kind: text(&column["type"]),
        format: text(&column["format"]),
        description: text(&column["description"]),
        priority: column["priority"].as_u64().and_then(|p| u8::try_from(p).ok()).unwrap_or(0),
        cell: Cell::Path(text(&column["jsonPath"])),
    }));
    columns
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_makes_a_row_per_served_version() {
        let definition = json!({"spec": {"group": "metal.bulkhead.io", "scope": "Cluster",
            "names": {"kind": "Machine", "plural": "machines", "shortNames": ["mc"]},
            "versions": [
                {"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                 "additionalPrinterColumns": [{"name": "State", "type": "string", "jsonPath": ".status.state"}]},
                {"name": "v0", "served": false, "storage": false}]}});
        let rows = rows(&definition);
        assert_eq!(rows.len(), 1);
        let kind = &rows[0].0;
        assert_eq!((kind.list_kind.as_str(), kind.singular.as_str()), ("MachineList", "machine"));
        assert_eq!(kind.columns.len(), 2);
        assert_eq!(kind.subresources[0].name, "status");
    }
}
