//! JSON trees to messages. Values of wrong types count as absent: objects were checked when they came in.

use base64::Engine as _;
use serde_json::{Map, Value};

use super::wire::Writer;
use crate::schema::{self, Field, Message, Shape, Type};
use crate::time;

/// The bytes of a message.
pub(super) fn message(message: &Message, value: &Value) -> Vec<u8> {
    let empty = Map::new();
    let map = value.as_object().unwrap_or(&empty);
    let mut out = Writer::default();
    for field in &message.fields {
        if field.is_inline {
            write_inline(&mut out, field, value, map);
            continue;
        }
        let value = map.get(field.name).filter(|value| !value.is_null());
        match field.shape {
            Shape::One => write_single(&mut out, field, value),
            Shape::List => {
                for item in value.and_then(Value::as_array).into_iter().flatten() {
                    write_one(&mut out, field.number, field, item);
                }
            }
            Shape::Map => write_map(&mut out, field, value),
        }
    }
    out.finish()
}

/// An inlined message takes its fields from the parent's JSON object.
fn write_inline(out: &mut Writer, field: &Field, value: &Value, map: &Map<String, Value>) {
    let Some(inner) = field.message() else { return };
    let present = || inner.json_fields().any(|one| map.contains_key(one.name));
    if !field.is_pointer || present() {
        out.bytes(field.number, &message(inner, value));
    }
}

fn write_single(out: &mut Writer, field: &Field, value: Option<&Value>) {
    // Empty byte slices and lists of a named type are nil in Go, the rest has a zero value.
    let nullable = field.is_pointer || matches!(field.kind, Type::Bytes | Type::TextList);
    match value {
        Some(value) => write_one(out, field.number, field, value),
        None if nullable => {}
        None => write_one(out, field.number, field, &Value::Null),
    }
}

fn write_map(out: &mut Writer, field: &Field, value: Option<&Value>) {
    let mut entries: Vec<(&String, &Value)> =
        value.and_then(Value::as_object).into_iter().flatten().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (key, value) in entries {
        let mut entry = Writer::default();
        entry.text(1, key);
        write_one(&mut entry, 2, field, value);
        out.bytes(field.number, &entry.finish());
    }
}

/// One value; null is the type's zero.
fn write_one(out: &mut Writer, number: u32, field: &Field, value: &Value) {
    match field.kind {
        Type::Text => out.text(number, value.as_str().unwrap_or_default()),
        Type::Bool => out.integer(number, i64::from(value == true)),
        Type::Int32 | Type::Int64 => {
            let float = || value.as_f64().map(|number| number as i64);
            out.integer(number, value.as_i64().or_else(float).unwrap_or(0));
        }
        Type::Double => out.double(number, value.as_f64().unwrap_or(0.0)),
        Type::Bytes => out.bytes(number, &decode_base64(value)),
        Type::Message(_) => {
            let inner = field.message().expect("is a message");
            out.bytes(number, &message(inner, value));
        }
        Type::TextList => {
            let mut list = Writer::default();
            for item in value.as_array().into_iter().flatten() {
                list.text(1, item.as_str().unwrap_or_default());
            }
            out.bytes(number, &list.finish());
        }
        _ => out.bytes(number, &special(field.kind, value)),
    }
}

fn decode_base64(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default().replace(['\n', '\r'], "");
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}

/// Messages with a JSON form of their own.
fn special(kind: Type, value: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    match kind {
        Type::Time | Type::MicroTime => {
            if let Some(instant) = value.as_str().and_then(time::parse) {
                let micros = i64::from(instant.nanos / 1000) * 1000;
                out.integer(1, instant.seconds);
                out.integer(2, if kind == Type::MicroTime { micros } else { 0 });
            }
        }
        Type::Duration => out.integer(1, value.as_str().map_or(0, time::parse_go_duration)),
        Type::Quantity => match value {
            Value::Null => out.text(1, "0"),
            Value::String(text) => out.text(1, text),
            other => out.text(1, &other.to_string()),
        },
        Type::IntOrString => {
            out.integer(1, i64::from(value.is_string()));
            out.integer(2, value.as_i64().unwrap_or(0));
            out.text(3, value.as_str().unwrap_or_default());
        }
        // Any JSON can be null; the others then have no bytes at all.
        Type::RawExtension | Type::FieldsV1 if value.is_null() => {}
        Type::RawExtension | Type::FieldsV1 | Type::Json => out.text(1, &value.to_string()),
        Type::SchemaOrArray => match value {
            Value::Array(items) => {
                items.iter().for_each(|item| out.bytes(2, &message(schema::schema_props(), item)));
            }
            _ => out.bytes(1, &message(schema::schema_props(), value)),
        },
        Type::SchemaOrBool => {
            out.integer(1, i64::from(value != false));
            if value.is_object() {
                out.bytes(2, &message(schema::schema_props(), value));
            }
        }
        Type::SchemaOrTexts => match value {
            Value::Array(items) => {
                items.iter().for_each(|item| out.text(2, item.as_str().unwrap_or_default()));
            }
            _ => out.bytes(1, &message(schema::schema_props(), value)),
        },
        _ => {}
    }
    out.finish()
}
