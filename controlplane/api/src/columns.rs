//! What `kubectl get` shows: server-side printing (`metav1.Table`), worded as upstream `pkg/printers/internalversion`.

mod cells;
mod cluster;
mod core;
mod network;
mod node;
mod path;
mod pod;
mod storage;
mod workloads;

use serde_json::{Value, json};

use crate::Kind;

/// One column of a kind's table.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    /// `string`, `integer`, `date`, ...
    pub kind: String,
    /// `name` for the name column, else empty.
    pub format: String,
    pub description: String,
    /// 0 is shown always, 1 with `-o wide`.
    pub priority: u8,
    pub cell: Cell,
}

/// How a cell's value is found.
#[derive(Clone)]
pub enum Cell {
    /// From the object and the present time (unix seconds), for ages.
    Computed(fn(&Value, i64) -> Value),
    /// A JSONPath (custom resources' printer columns).
    Path(String),
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Computed(_) => f.write_str("Computed"),
            Self::Path(path) => write!(f, "Path({path})"),
        }
    }
}

/// What each row carries in `object`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    Metadata,
    Object,
}

/// A `metav1.Table` (`meta.k8s.io/v1`) of objects. `list_metadata` becomes the table's metadata.
#[must_use]
pub fn table(
    kind: &Kind,
    objects: &[&Value],
    list_metadata: Value,
    include: IncludeObject,
    with_columns: bool,
    now_unix: i64,
) -> Value {
    let fallback;
    let columns = if kind.columns.is_empty() {
        fallback = cells::name_and_age();
        &fallback
    } else {
        &kind.columns
    };
    let definitions =
        if with_columns { columns.iter().map(definition).collect() } else { Value::Null };
    let rows: Vec<Value> =
        objects.iter().map(|object| row(columns, object, include, now_unix)).collect();
    let metadata = if list_metadata.is_null() { json!({}) } else { list_metadata };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows})
}

fn definition(column: &Column) -> Value {
    json!({"name": column.name, "type": column.kind, "format": column.format,
        "description": column.description, "priority": column.priority})
}

fn row(columns: &[Column], object: &Value, include: IncludeObject, now_unix: i64) -> Value {
    let cells: Vec<Value> = columns
        .iter()
        .map(|column| match &column.cell {
            Cell::Computed(compute) => compute(object, now_unix),
            Cell::Path(path) => path::cell(object, path, &column.kind, now_unix),
        })
        .collect();
    let mut row = json!({"cells": cells});
    match include {
        IncludeObject::None => {}
        IncludeObject::Object => row["object"] = object.clone(),
        IncludeObject::Metadata => row["object"] = partial_metadata(object),
    }
    row
}

/// The `PartialObjectMetadata` of an object.
#[must_use]
pub fn partial_metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"]})
}

/// Columns of a custom resource from `additionalPrinterColumns`: the name first, and the age when the definition has
/// no columns.
#[must_use]
pub fn custom(printer_columns: &Value) -> Vec<Column> {
    let mut columns = vec![cells::name()];
    let Some(wanted) = printer_columns.as_array().filter(|columns| !columns.is_empty()) else {
        columns.push(cells::age());
        return columns;
    };
    for one in wanted {
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        columns.push(Column {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description: text("description"),
            priority: u8::try_from(one["priority"].as_i64().unwrap_or(0)).unwrap_or(1),
            cell: Cell::Path(text("jsonPath")),
        });
    }
    columns
}

/// Columns of a built-in kind.
#[must_use]
pub(crate) fn built_in(group: &str, kind: &str) -> Vec<Column> {
    let found = match group {
        "" => match kind {
            "Pod" => Some(pod::columns()),
            "Node" => Some(node::columns()),
            _ => workloads::columns(kind)
                .or_else(|| network::columns(kind))
                .or_else(|| core::columns(kind)),
        },
        "apps" | "batch" | "autoscaling" | "policy" => workloads::columns(kind),
        "events.k8s.io" => core::columns(kind),
        "networking.k8s.io" | "discovery.k8s.io" => network::columns(kind),
        "storage.k8s.io" | "resource.k8s.io" => storage::columns(kind),
        _ => cluster::columns(kind),
    };
    found.unwrap_or_else(cells::name_and_age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_rows_and_columns() {
        let kind = crate::kinds().into_iter().find(|kind| kind.kind == "ConfigMap").unwrap();
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:10Z"}, "data": {"k": "v"}});
        let table = table(
            &kind,
            &[&object],
            json!({"resourceVersion": "5"}),
            IncludeObject::Metadata,
            true,
            70,
        );
        assert_eq!(table["rows"][0]["cells"], json!(["a", 1, "60s"]));
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
        assert_eq!(table["metadata"]["resourceVersion"], "5");
    }

    #[test]
    fn custom_columns_follow_paths() {
        let columns =
            custom(&json!([{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}]));
        let cells = row(
            &columns,
            &json!({"metadata": {"name": "a"}, "status": {"phase": "Up"}}),
            IncludeObject::None,
            0,
        );
        assert_eq!(cells["cells"], json!(["a", "Up"]));
        assert_eq!(custom(&Value::Null).len(), 2);
    }
}
