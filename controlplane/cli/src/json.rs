//! Short ways into JSON objects.

use serde_json::Value;

/// The text at a JSON pointer; empty when it is not there.
#[must_use]
pub fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The number at a JSON pointer.
#[must_use]
pub fn number_at(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// Whether `true` stands at a JSON pointer.
#[must_use]
pub fn is_true_at(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// The items of the array at a JSON pointer; none when it is not there.
pub fn items_at<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The entries of the object at a JSON pointer, sorted by key.
#[must_use]
pub fn entries_at<'a>(value: &'a Value, pointer: &str) -> Vec<(&'a str, &'a Value)> {
    let mut entries: Vec<_> = value
        .pointer(pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

/// A scalar as kubectl prints it: strings without quotes.
#[must_use]
pub fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The object's name.
#[must_use]
pub fn name(object: &Value) -> &str {
    text_at(object, "/metadata/name")
}

/// `a=b,c=d` of a map of labels.
#[must_use]
pub fn labels_text(object: &Value, pointer: &str) -> String {
    let pairs: Vec<_> = entries_at(object, pointer)
        .into_iter()
        .map(|(key, value)| format!("{key}={}", scalar(value)))
        .collect();
    pairs.join(",")
}

/// One segment of a JSON pointer.
#[must_use]
pub fn pointer_segment(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
