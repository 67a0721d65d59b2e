//! The form an object takes after a trip through upstream's typed structs: unknown fields and nulls dropped, zero
//! values of optional fields omitted, required ones filled in, quantities and times canonical.

use serde_json::{Map, Value, json};

use super::{Field, Message, Shape, Type, message};
use crate::{quantity, time};

/// Brings an object into its canonical form. Values of wrong types are left alone (see `check_types`).
pub fn normalize(schema: &str, object: &mut Value) {
    if let Some(message) = message(schema) {
        normalize_message(message, object);
    }
}

/// Adds what upstream's encoder always writes (`status: {}`, `resources: {}`, counters that are 0).
pub fn fill_required(schema: &str, object: &mut Value) {
    if let (Some(message), Some(map)) = (message(schema), object.as_object_mut()) {
        fill(message, map);
    }
}

fn normalize_message(message: &Message, value: &mut Value) {
    let Some(map) = value.as_object_mut() else { return };
    map.retain(|key, inner| {
        if message.is_kind && (key == "apiVersion" || key == "kind") {
            return true;
        }
        let Some(field) = message.field(key) else { return false };
        if inner.is_null() {
            return false;
        }
        normalize_field(field, inner);
        !is_omitted(field, inner)
    });
    fill(message, map);
}

fn normalize_field(field: &Field, value: &mut Value) {
    match (field.shape, value) {
        (Shape::One, value) => normalize_one(field, value),
        (Shape::List, Value::Array(items)) => {
            items.iter_mut().for_each(|item| normalize_one(field, item));
        }
        (Shape::Map, Value::Object(map)) => {
            map.values_mut().for_each(|item| normalize_one(field, item));
        }
        _ => {}
    }
}

fn normalize_one(field: &Field, value: &mut Value) {
    match field.kind {
        Type::Message(_) => {
            if value.is_null() {
                *value = json!({});
            }
            normalize_message(field.message().expect("is a message"), value);
        }
        Type::Quantity => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let Ok(parsed) = quantity::parse(&text) {
                *value = Value::String(parsed.to_string());
            }
        }
        Type::Time => rewrite_time(value, time::format_seconds),
        Type::MicroTime => rewrite_time(value, time::format_micros),
        Type::Int32 | Type::Int64 => {
            if let Some(number) = value.as_f64().filter(|_| value.is_f64()) {
                *value = json!(number as i64);
            }
        }
        // An entry of a map or list of strings that is null is the empty string.
        Type::Text if value.is_null() => *value = json!(""),
        _ => {}
    }
}

fn rewrite_time(value: &mut Value, format: fn(time::Instant) -> String) {
    if let Some(instant) = value.as_str().and_then(time::parse) {
        *value = Value::String(format(instant));
    }
}

/// Zero values that the Go encoder leaves out.
fn is_omitted(field: &Field, value: &Value) -> bool {
    if !field.omit_empty && !field.omit_zero {
        return false;
    }
    match (field.shape, value) {
        (Shape::List, Value::Array(items)) => items.is_empty(),
        (Shape::Map, Value::Object(map)) => map.is_empty(),
        (Shape::One, _) if field.is_pointer => false,
        (Shape::One, Value::String(text)) => {
            text.is_empty() && !matches!(field.kind, Type::IntOrString)
        }
        (Shape::One, Value::Bool(flag)) => !flag,
        (Shape::One, Value::Number(number)) => {
            number.as_i64() == Some(0) && !matches!(field.kind, Type::IntOrString)
        }
        (Shape::One, Value::Object(map)) => field.omit_zero && map.is_empty(),
        _ => false,
    }
}

fn fill(message: &Message, map: &mut Map<String, Value>) {
    for field in message.json_fields() {
        if field.is_pointer || field.shape != Shape::One || map.contains_key(field.name) {
            continue;
        }
        let value = match field.kind {
            Type::Message(_) if !field.omit_zero => {
                let mut inner = Map::new();
                fill(field.message().expect("is a message"), &mut inner);
                Value::Object(inner)
            }
            Type::Text if !field.omit_empty => json!(""),
            Type::Bool if !field.omit_empty => json!(false),
            Type::Int32 | Type::Int64 if !field.omit_empty => json!(0),
            _ => continue,
        };
        map.insert(field.name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_take_their_typed_form() {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "junk": 1,
            "metadata": {"name": "a", "creationTimestamp": null, "labels": {}},
            "spec": {"hostNetwork": false, "containers": [{"name": "c", "args": [],
                "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}}],
                "terminationGracePeriodSeconds": 0}});
        normalize("io.k8s.api.core.v1.Pod", &mut pod);
        assert_eq!(
            pod,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}],
                "terminationGracePeriodSeconds": 0}, "status": {}})
        );
        let mut set = json!({"metadata": {}, "status": {}});
        normalize("io.k8s.api.apps.v1.DaemonSet", &mut set);
        assert_eq!(set["status"]["numberReady"], 0);
    }
}
