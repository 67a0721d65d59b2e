//! Schemas must be structural. Upstream `schema/validation.go` and `ValidateCustomResourceDefinitionOpenAPISchema`.

use api::{rules::problems::Problems, structural};
use serde_json::{Map, Value};

use super::{rules, text};

/// Schemas nest at most this deep.
const DEPTH_MAX: usize = 100;
const UNSUPPORTED: [&str; 6] =
    ["$ref", "definitions", "dependencies", "id", "patternProperties", "additionalItems"];
/// What may stand only in the structure, not in `anyOf` and its kin.
const STRUCTURE: [&str; 8] = [
    "default",
    "nullable",
    "title",
    "description",
    "type",
    "additionalProperties",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-preserve-unknown-fields",
];

/// Collects the problems of one version's schema. `accepted`: the definition has had it before.
pub(super) fn validate(raw: &Value, path: &str, accepted: bool, problems: &mut Problems) {
    match text(raw, "type") {
        "object" => {}
        "" => problems.required(&format!("{path}.type"), "must not be empty at the root"),
        other => {
            problems.invalid_text(&format!("{path}.type"), other, "must be object at the root")
        }
    }
    if raw["nullable"] == true {
        problems.forbidden(&format!("{path}.nullable"), "nullable cannot be true at the root");
    }
    metadata(&raw["properties"]["metadata"], &format!("{path}.properties[metadata]"), problems);
    node(raw, path, true, 0, problems);
    if problems.is_empty() {
        rules::validate(raw, path, accepted, problems);
    }
}

fn metadata(raw: &Value, path: &str, problems: &mut Problems) {
    let Some(fields) = raw.as_object() else { return };
    let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
    let named = |field: &str| matches!(field, "name" | "generateName");
    let known =
        raw["properties"].as_object().is_none_or(|fields| fields.keys().all(|field| named(field)));
    let plain =
        fields.keys().all(|key| matches!(key.as_str(), "type" | "properties" | "description"));
    if !known || !plain {
        problems.forbidden(path, detail);
    }
}

/// One node of the structure, `type` checked by its parent except for the root.
fn node(raw: &Value, path: &str, root: bool, depth: usize, problems: &mut Problems) {
    let Some(fields) = raw.as_object() else { return };
    if depth > DEPTH_MAX {
        problems.forbidden(path, "schema is nested too deeply");
        return;
    }
    common(fields, path, problems);
    extensions(raw, path, root, problems);
    lists(raw, path, problems);
    children(raw, path, depth, problems);
    junctions(raw, raw, path, depth, problems);
    default(raw, path, problems);
}

/// Rules that hold inside of `anyOf` and its kin too.
fn common(fields: &Map<String, Value>, path: &str, problems: &mut Problems) {
    for field in UNSUPPORTED {
        if fields.contains_key(field) {
            problems.forbidden(&format!("{path}.{field}"), &format!("{field} is not supported"));
        }
    }
    if fields.get("uniqueItems") == Some(&Value::Bool(true)) {
        let detail =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        problems.forbidden(&format!("{path}.uniqueItems"), detail);
    }
    if let Some(pattern) = fields.get("pattern").and_then(Value::as_str)
        && let Err(error) = regex::Regex::new(pattern)
    {
        let reason = error.to_string();
        let reason =
            reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let detail = format!(
            "must be a valid regular expression, but isn't: error parsing regexp: {reason}"
        );
        problems.invalid_text(&format!("{path}.pattern"), pattern, &detail);
    }
    if let Some(kind) = fields.get("type") {
        let known = ["array", "boolean", "integer", "number", "object", "string"];
        match kind.as_str() {
            Some("null") => problems.forbidden(
                &format!("{path}.type"),
                "type cannot be set to null, use nullable as an alternative",
            ),
            Some("") => {}
            _ => problems.check_choice(&format!("{path}.type"), kind, &known),
        }
    }
    let both =
        fields.get("properties").and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    match fields.get("additionalProperties") {
        Some(Value::Bool(false)) => {
            let detail = "additionalProperties cannot be set to false";
            problems.forbidden(&format!("{path}.additionalProperties"), detail);
        }
        Some(value) if both && !value.is_null() => {
            let detail = "additionalProperties and properties are mutual exclusive";
            problems.forbidden(&format!("{path}.additionalProperties"), detail);
        }
        _ => {}
    }
}

fn extensions(raw: &Value, path: &str, root: bool, problems: &mut Problems) {
    const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
    const EMBEDDED: &str = "x-kubernetes-embedded-resource";
    const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
    let kind = text(raw, "type");
    if raw[PRESERVE] == false {
        problems.invalid(
            &format!("{path}.{PRESERVE}"),
            &Value::Bool(false),
            "must be true or undefined",
        );
    }
    if raw[INT_OR_STRING] == true && !kind.is_empty() {
        let detail = format!("must be empty if {INT_OR_STRING} is true");
        problems.forbidden(&format!("{path}.type"), &detail);
    }
    if raw[EMBEDDED] == true {
        if root {
            problems.forbidden(&format!("{path}.{EMBEDDED}"), "must not be used at the root");
        }
        if kind != "object" {
            let detail = format!("must be object if {EMBEDDED} is true");
            problems.invalid_text(&format!("{path}.type"), kind, &detail);
        }
        let empty = raw["properties"].as_object().is_none_or(Map::is_empty);
        if empty && raw[PRESERVE] != true {
            let detail = format!("must not be empty if {EMBEDDED} is true without {PRESERVE}");
            problems.required(&format!("{path}.properties"), &detail);
        }
    }
    if let Some(map_type) = raw.get("x-kubernetes-map-type").filter(|value| !value.is_null()) {
        if kind != "object" {
            let detail = "must be object if x-kubernetes-map-type is specified";
            problems.invalid_text(&format!("{path}.type"), kind, detail);
        }
        problems.check_choice(
            &format!("{path}.x-kubernetes-map-type"),
            map_type,
            &["atomic", "granular"],
        );
    }
}

fn lists(raw: &Value, path: &str, problems: &mut Problems) {
    const TYPE: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    let keys = raw[KEYS].as_array().map_or(&[][..], Vec::as_slice);
    let list_type = raw[TYPE].as_str();
    if list_type.is_some() && text(raw, "type") != "array" {
        let detail = format!("must be array if {TYPE} is specified");
        problems.invalid_text(&format!("{path}.type"), text(raw, "type"), &detail);
    }
    match list_type {
        None | Some("atomic" | "set" | "map") => {}
        Some(_) => {
            problems.not_supported(&format!("{path}.{TYPE}"), &raw[TYPE], &["atomic", "map", "set"])
        }
    }
    if list_type != Some("map") {
        if !keys.is_empty() {
            problems.forbidden(
                &format!("{path}.{KEYS}"),
                &format!("must be empty if {TYPE} is not map"),
            );
        }
        return;
    }
    if keys.is_empty() {
        problems
            .required(&format!("{path}.{KEYS}"), &format!("must not be empty if {TYPE} is map"));
    }
    let items = &raw["items"];
    let required = items["required"].as_array().map_or(&[][..], Vec::as_slice);
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        let property = &items["properties"][name];
        if property.is_null() {
            problems.invalid(
                &format!("{path}.{KEYS}[{index}]"),
                key,
                "entries must all be names of item properties",
            );
        } else if !required.contains(key) && property.get("default").is_none() {
            let detail = format!(
                "this property is in {KEYS}, so it must have a default or be a required property"
            );
            problems.required(&format!("{path}.items.properties[{name}].default"), &detail);
        }
    }
}

fn children(raw: &Value, path: &str, depth: usize, problems: &mut Problems) {
    let mut below = |child: &Value, at: String, what: &str| {
        let untyped = text(child, "type").is_empty()
            && child["x-kubernetes-int-or-string"] != true
            && child["x-kubernetes-preserve-unknown-fields"] != true;
        if untyped {
            problems.required(
                &format!("{at}.type"),
                &format!("must not be empty for specified {what}"),
            );
        }
        node(child, &at, false, depth + 1, problems);
    };
    for (name, child) in raw["properties"].as_object().into_iter().flatten() {
        below(child, format!("{path}.properties[{name}]"), "object fields");
    }
    if raw["additionalProperties"].is_object() {
        below(
            &raw["additionalProperties"],
            format!("{path}.additionalProperties"),
            "object fields",
        );
    }
    if raw["items"].is_object() {
        below(&raw["items"], format!("{path}.items"), "array items");
    } else if raw["items"].is_array() {
        problems
            .forbidden(&format!("{path}.items"), "items must be a schema object and not an array");
    } else if text(raw, "type") == "array" {
        problems.required(&format!("{path}.items"), "must be specified");
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not` may only restrict what the structure has.
fn junctions(structure: &Value, raw: &Value, path: &str, depth: usize, problems: &mut Problems) {
    if depth > DEPTH_MAX {
        return;
    }
    for list in ["allOf", "anyOf", "oneOf"] {
        for (index, one) in raw[list].as_array().into_iter().flatten().enumerate() {
            junction(structure, one, &format!("{path}.{list}[{index}]"), depth + 1, problems);
        }
    }
    if raw["not"].is_object() {
        junction(structure, &raw["not"], &format!("{path}.not"), depth + 1, problems);
    }
}

fn junction(structure: &Value, raw: &Value, path: &str, depth: usize, problems: &mut Problems) {
    let Some(fields) = raw.as_object() else { return };
    if depth > DEPTH_MAX {
        return;
    }
    common(fields, path, problems);
    let int_or_string = structure["x-kubernetes-int-or-string"] == true;
    for field in STRUCTURE {
        let Some(value) = fields.get(field).filter(|value| !value.is_null() && **value != "")
        else {
            continue;
        };
        if field == "type" && int_or_string {
            continue;
        }
        let detail = match value {
            Value::Bool(false) => continue,
            Value::Bool(true) => "must be false to be structural",
            _ if field == "default" || field == "additionalProperties" => {
                "must be undefined to be structural"
            }
            _ => "must be empty to be structural",
        };
        problems.forbidden(&format!("{path}.{field}"), detail);
    }
    for (name, child) in raw["properties"].as_object().into_iter().flatten() {
        let at = format!("{path}.properties[{name}]");
        let below = &structure["properties"][name];
        if below.is_null() && structure["x-kubernetes-preserve-unknown-fields"] != true {
            let spot = at
                .split_once(".anyOf")
                .or_else(|| at.split_once(".oneOf"))
                .or_else(|| at.split_once(".allOf"));
            let spot =
                spot.or_else(|| at.split_once(".not")).map_or(at.as_str(), |(before, _)| before);
            problems.required(
                &format!("{spot}.properties[{name}]"),
                &format!("because it is defined in {at}"),
            );
        }
        junction(below, child, &at, depth + 1, problems);
    }
    if raw["items"].is_object() {
        junction(&structure["items"], &raw["items"], &format!("{path}.items"), depth + 1, problems);
    }
    junctions(structure, raw, path, depth, problems);
}

/// A default must itself be valid and have no unknown fields.
fn default(raw: &Value, path: &str, problems: &mut Problems) {
    let Some(value) = raw.get("default") else { return };
    let schema = structural::parse(raw);
    let path = format!("{path}.default");
    let mut pruned = serde_json::json!({ "default": value });
    let holder = structural::Schema {
        properties: [("default".to_owned(), schema)].into(),
        ..structural::Schema::default()
    };
    let unknown = structural::prune(&holder, &mut pruned);
    if !unknown.is_empty() {
        problems.invalid(&path, value, "must not have unknown fields");
        return;
    }
    let mut found = Problems::default();
    structural::validate(&holder, &pruned, None, &mut found);
    for mut cause in found.into_causes() {
        let rest = cause.field.strip_prefix("default").map(str::to_owned);
        cause.field = rest.map_or_else(|| path.clone(), |rest| format!("{path}{rest}"));
        problems.push(cause);
    }
}
