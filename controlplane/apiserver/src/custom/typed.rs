//! Schemas as types of expressions and objects as their values. Upstream `apiserver/pkg/cel/common`.

use std::{collections::BTreeMap, sync::Arc};

use api::structural::{Additional, ListType, Schema};
use expressions::{Key, List, ListKind, Map, ObjectType, Type, Value, escape};
use serde_json::Value as Json;

/// The type that rules see for a node.
#[must_use]
pub fn type_of(schema: &Schema, root: bool) -> Type {
    if schema.int_or_string {
        return Type::Dyn;
    }
    match schema.kind.as_str() {
        "boolean" => Type::Bool,
        "integer" => Type::Int,
        "number" => Type::Double,
        "string" => match schema.checks.format.as_str() {
            "byte" => Type::Bytes,
            "date" | "date-time" => Type::Timestamp,
            "duration" => Type::Duration,
            _ => Type::String,
        },
        "array" => {
            Type::list(schema.items.as_ref().map_or(Type::Dyn, |items| type_of(items, false)))
        }
        "object" => object_type(schema, root),
        _ => Type::Dyn,
    }
}

fn object_type(schema: &Schema, root: bool) -> Type {
    match &schema.additional {
        Additional::Of(of) => return Type::map(Type::String, type_of(of, false)),
        Additional::Any => return Type::map(Type::String, Type::Dyn),
        Additional::None => {}
    }
    let mut fields: BTreeMap<String, Type> = BTreeMap::new();
    for (name, of) in &schema.properties {
        if let Some(escaped) = escape(name) {
            fields.insert(escaped, type_of(of, false));
        }
    }
    if root || schema.embedded {
        fields.insert("apiVersion".into(), Type::String);
        fields.insert("kind".into(), Type::String);
        let text = ["name", "generateName"].map(|name| (name.to_owned(), Type::String));
        fields.insert("metadata".into(), Type::object("objectMeta", text));
    }
    if schema.properties.is_empty() && schema.preserve_unknown && !root && !schema.embedded {
        return Type::Dyn;
    }
    Type::Object(Arc::new(ObjectType { name: "object".into(), fields: Some(fields) }))
}

/// A JSON value as rules see it.
#[must_use]
pub fn value(schema: &Schema, json: &Json, root: bool) -> Value {
    match json {
        Json::Object(fields) => match &schema.additional {
            Additional::Of(of) => map(fields, |_| Some(of)),
            Additional::Any => map(fields, |_| None),
            Additional::None if schema.properties.is_empty() && !root && !schema.embedded => {
                Value::from(json)
            }
            Additional::None => object(schema, fields, root),
        },
        Json::Array(items) => {
            let item = |item: &Json| {
                schema.items.as_ref().map_or_else(|| Value::from(item), |of| value(of, item, false))
            };
            let kind = match &schema.list_type {
                ListType::Atomic => ListKind::Atomic,
                ListType::Set => ListKind::Set,
                ListType::Map(keys) => {
                    ListKind::Map(keys.iter().filter_map(|key| escape(key)).collect())
                }
            };
            Value::List(Arc::new(List { items: items.iter().map(item).collect(), kind }))
        }
        Json::String(text) if schema.kind == "string" => formatted(&schema.checks.format, text),
        Json::Number(number) if schema.kind == "number" => {
            Value::Double(number.as_f64().unwrap_or(f64::NAN))
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "JSON may write a whole number with a fraction of zero"
        )]
        Json::Number(number) if schema.kind == "integer" && number.as_i64().is_none() => {
            Value::Int(number.as_f64().unwrap_or(0.0) as i64)
        }
        other => Value::from(other),
    }
}

fn formatted(format: &str, text: &str) -> Value {
    let parse = |kind: &str| Value::parse(kind, text);
    match format {
        "byte" => parse("bytes"),
        "date" => Value::parse("timestamp", &format!("{text}T00:00:00Z")),
        "date-time" => parse("timestamp"),
        "duration" => parse("duration"),
        _ => None,
    }
    .unwrap_or_else(|| Value::text(text))
}

fn map<'s>(
    fields: &serde_json::Map<String, Json>,
    of: impl Fn(&str) -> Option<&'s Schema>,
) -> Value {
    let entries = fields.iter().map(|(name, json)| {
        let value = of(name).map_or_else(|| Value::from(json), |of| value(of, json, false));
        (Key::Text(Arc::from(name.as_str())), value)
    });
    Value::Map(Arc::new(Map { entries: entries.collect(), object: None }))
}

fn object(schema: &Schema, fields: &serde_json::Map<String, Json>, root: bool) -> Value {
    let mut entries = BTreeMap::new();
    for (name, json) in fields {
        let implied = (root || schema.embedded)
            && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
        let Some(escaped) = escape(name) else { continue };
        let shown = match schema.properties.get(name) {
            Some(of) if !(implied && name == "metadata") => {
                if json.is_null() && !of.nullable {
                    continue;
                }
                value(of, json, false)
            }
            None if !implied => continue,
            _ => Value::from(json),
        };
        entries.insert(Key::Text(Arc::from(escaped.as_str())), shown);
    }
    Value::Map(Arc::new(Map { entries, object: Some(Arc::from("object")) }))
}
