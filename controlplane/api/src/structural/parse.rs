//! Reads `openAPIV3Schema`.

use regex::RegexBuilder;
use serde_json::Value;

use super::{Additional, Checks, ListType, Schema};

/// Schemas nest at most this deep; deeper ones are read as if they ended there.
const DEPTH_MAX: usize = 200;
/// A pattern may compile to this many bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The schema that a definition writes.
#[must_use]
pub fn parse(raw: &Value) -> Schema {
    node(raw, 0)
}

fn node(raw: &Value, depth: usize) -> Schema {
    if depth > DEPTH_MAX {
        return Schema { preserve_unknown: true, ..Schema::default() };
    }
    let flag = |field: &str| raw[field].as_bool().unwrap_or(false);
    let mut schema = Schema {
        kind: text(raw, "type"),
        nullable: flag("nullable"),
        default: raw.get("default").cloned(),
        properties: map(raw, "properties", depth),
        items: raw
            .get("items")
            .filter(|items| items.is_object())
            .map(|items| Box::new(node(items, depth + 1))),
        additional: additional(&raw["additionalProperties"], depth),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        list_type: list_type(raw),
        checks: checks(raw, depth),
        rules: raw["x-kubernetes-validations"].as_array().cloned().unwrap_or_default(),
        ..Schema::default()
    };
    let below = |has: fn(&Schema) -> bool| {
        let nested = schema.properties.values().chain(schema.items.as_deref());
        let more = match &schema.additional {
            Additional::Of(schema) => Some(&**schema),
            _ => None,
        };
        nested.chain(more).any(has)
    };
    let (rules, defaults) = (below(|one| one.has_rules), below(|one| one.has_defaults));
    schema.has_rules = rules || !schema.rules.is_empty();
    schema.has_defaults = defaults || schema.default.is_some();
    schema
}

fn text(raw: &Value, field: &str) -> String {
    raw[field].as_str().unwrap_or_default().to_owned()
}

fn map(raw: &Value, field: &str, depth: usize) -> std::collections::BTreeMap<String, Schema> {
    let entries = raw[field].as_object().into_iter().flatten();
    entries.map(|(name, raw)| (name.clone(), node(raw, depth + 1))).collect()
}

fn additional(raw: &Value, depth: usize) -> Additional {
    match raw {
        Value::Bool(true) => Additional::Any,
        Value::Object(_) => Additional::Of(Box::new(node(raw, depth + 1))),
        _ => Additional::None,
    }
}

fn list_type(raw: &Value) -> ListType {
    match raw["x-kubernetes-list-type"].as_str() {
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = raw["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            ListType::Map(keys.filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => ListType::Atomic,
    }
}

fn checks(raw: &Value, depth: usize) -> Checks {
    let number = |field: &str| raw[field].as_f64();
    let count = |field: &str| raw[field].as_u64();
    let flag = |field: &str| raw[field].as_bool().unwrap_or(false);
    let list = |field: &str| raw[field].as_array().into_iter().flatten();
    let nested = |field: &str| list(field).map(|one| node(one, depth + 1)).collect();
    let pattern = raw["pattern"].as_str().filter(|pattern| !pattern.is_empty());
    Checks {
        format: text(raw, "format"),
        minimum: number("minimum"),
        maximum: number("maximum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        pattern: pattern.and_then(|pattern| {
            RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().ok()
        }),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        required: list("required").filter_map(Value::as_str).map(str::to_owned).collect(),
        choices: list("enum").cloned().collect(),
        all_of: nested("allOf"),
        any_of: nested("anyOf"),
        one_of: nested("oneOf"),
        not: raw.get("not").filter(|not| not.is_object()).map(|not| Box::new(node(not, depth + 1))),
    }
}
