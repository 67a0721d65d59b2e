//! Building blocks of cells.

use serde_json::{Value, json};

use super::{Cell, Column};
use crate::{meta, time};

pub(super) type Compute = fn(&Value, i64) -> Value;

pub(super) const NONE: &str = "<none>";
pub(super) const UNKNOWN: &str = "<unknown>";
pub(super) const UNSET: &str = "<unset>";

fn column(name: &str, kind: &str, priority: u8, compute: Compute) -> Column {
    Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: String::new(),
        description: String::new(),
        priority,
        cell: Cell::Computed(compute),
    }
}

/// A text column that is always shown.
pub(super) fn text(name: &str, compute: Compute) -> Column {
    column(name, "string", 0, compute)
}

/// A text column of `-o wide`.
pub(super) fn wide(name: &str, compute: Compute) -> Column {
    column(name, "string", 1, compute)
}

pub(super) fn integer(name: &str, compute: Compute) -> Column {
    column(name, "integer", 0, compute)
}

pub(super) fn boolean(name: &str, compute: Compute) -> Column {
    column(name, "boolean", 0, compute)
}

pub(super) fn name() -> Column {
    let mut column = text("Name", |object, _| json!(meta::name(object)));
    column.format = "name".to_owned();
    column
}

pub(super) fn age() -> Column {
    text("Age", |object, now| json!(since(meta::text(object, "creationTimestamp"), now)))
}

/// The creation time itself, as roles and definitions show it.
pub(super) fn created_at() -> Column {
    let mut column = text("Created At", |object, _| json!(meta::text(object, "creationTimestamp")));
    column.kind = "dateTime".to_owned();
    column
}

pub(super) fn name_and_age() -> Vec<Column> {
    vec![name(), age()]
}

/// How long ago a time was, or `<unknown>`.
pub(super) fn since(text: &str, now: i64) -> String {
    match time::parse(text) {
        Some(instant) => time::human_duration(now - instant.seconds),
        None => UNKNOWN.to_owned(),
    }
}

/// The text at a dotted path, or "".
pub(super) fn at<'a>(object: &'a Value, path: &str) -> &'a str {
    meta::at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a dotted path, or 0.
pub(super) fn number(object: &Value, path: &str) -> i64 {
    meta::at(object, path).and_then(Value::as_i64).unwrap_or(0)
}

/// The items of the list at a dotted path.
pub(super) fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    meta::at(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The number of entries of the map or list at a dotted path.
pub(super) fn count(object: &Value, path: &str) -> usize {
    match meta::at(object, path) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

pub(super) fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// Text or number as text (`IntOrString`).
pub(super) fn any_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Items joined by commas, or `<none>`.
pub(super) fn joined(items: impl IntoIterator<Item = String>) -> String {
    let all: Vec<String> = items.into_iter().collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(",") }
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn labels(map: &Value) -> String {
    joined(map.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", any_text(v))))
}

/// A `LabelSelector` in its query form, or `<none>`.
pub(super) fn selector(selector: &Value) -> String {
    let text = crate::selector::Labels::from_selector(selector)
        .map(|parsed| parsed.to_string())
        .unwrap_or_default();
    or(&text, NONE).to_owned()
}

/// One field of every container of a pod spec, joined by commas.
pub(super) fn containers(template_spec: Option<&Value>, field: &str) -> String {
    let spec = template_spec.unwrap_or(&Value::Null);
    let names: Vec<&str> = list(spec, "containers").iter().map(|one| at(one, field)).collect();
    names.join(",")
}
