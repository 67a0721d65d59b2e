//! Unknown fields and JSON types, worded as upstream's strict decoder.

use serde_json::Value;

use super::{Field, Message, Shape, Type, message};
use crate::{quantity, time};

/// Upstream reports at most this many strict decoding problems.
const PROBLEMS_MAX: usize = 100;

/// Fields that the schema does not know (`unknown field "spec.foo"`), for `fieldValidation`.
#[must_use]
pub fn unknown_fields(schema: &str, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(message) = message(schema) {
        walk_message(message, object, "", &mut found);
    }
    found.truncate(PROBLEMS_MAX);
    found
}

fn walk_message(message: &Message, value: &Value, path: &str, found: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let at = join(path, key);
        match message.field(key) {
            Some(field) => walk_field(field, inner, &at, found),
            None if message.is_kind && (key == "apiVersion" || key == "kind") => {}
            None => found.push(format!("unknown field {at:?}")),
        }
    }
}

fn walk_field(field: &Field, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(message) = field.message() else { return };
    match field.shape {
        Shape::One => walk_message(message, value, path, found),
        Shape::List => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                walk_message(message, item, &format!("{path}[{index}]"), found);
            }
        }
        Shape::Map => {
            for (key, item) in value.as_object().into_iter().flatten() {
                walk_message(message, item, &join(path, key), found);
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Checks JSON types against the schema (a string where a number belongs); the text is the decoder's, as upstream's
/// strict JSON decoder words it.
pub fn check_types(schema: &str, object: &Value) -> Result<(), String> {
    message(schema).map_or(Ok(()), |message| check_message(message, object, ""))
}

fn check_message(message: &Message, value: &Value, path: &str) -> Result<(), String> {
    let Some(map) = value.as_object() else {
        if value.is_null() {
            return Ok(());
        }
        let version = message.api_version.rsplit('/').next().unwrap_or_default();
        let target = format!("{version}.{}", message.short_name());
        return Err(match path {
            "" => format!("json: cannot unmarshal {} into Go value of type {target}", word(value)),
            _ => mismatch(value, message.short_name(), path, &target),
        });
    };
    for (key, inner) in map {
        let at = join(path, key);
        if let Some(field) = message.field(key) {
            check_field(message, field, inner, &at)?;
        } else if message.is_kind && (key == "apiVersion" || key == "kind") && !inner.is_string() {
            return Err(mismatch(inner, message.short_name(), &at, "string"));
        }
    }
    Ok(())
}

fn check_field(owner: &Message, field: &Field, value: &Value, path: &str) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let bad = |value: &Value, kind: &str| Err(mismatch(value, owner.short_name(), path, kind));
    match field.shape {
        Shape::One => check_one(owner, field, value, path),
        Shape::List => match value.as_array() {
            Some(items) => items.iter().try_for_each(|item| check_one(owner, field, item, path)),
            None => bad(value, &format!("[]{}", go_type(field))),
        },
        Shape::Map => match value.as_object() {
            Some(map) => map
                .iter()
                .try_for_each(|(key, item)| check_one(owner, field, item, &join(path, key))),
            None => bad(value, &format!("map[string]{}", go_type(field))),
        },
    }
}

fn check_one(owner: &Message, field: &Field, value: &Value, path: &str) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let fits = match field.kind {
        Type::Text => value.is_string(),
        Type::Bool => value.is_boolean(),
        Type::Int32 => integer(value).is_some_and(|number| i32::try_from(number).is_ok()),
        Type::Int64 | Type::Duration => {
            integer(value).is_some() || field.kind == Type::Duration && value.is_string()
        }
        Type::Double => value.is_number(),
        Type::Bytes => return check_bytes(owner, value, path),
        Type::Time | Type::MicroTime => return check_time(owner, value, path),
        Type::Quantity => return check_quantity(value),
        Type::IntOrString => value.is_string() || integer(value).is_some(),
        Type::TextList => value.is_array(),
        Type::Message(_) => {
            return check_message(field.message().expect("is a message"), value, path);
        }
        Type::FieldsV1
        | Type::RawExtension
        | Type::Json
        | Type::SchemaOrArray
        | Type::SchemaOrBool
        | Type::SchemaOrTexts => true,
    };
    if fits { Ok(()) } else { Err(mismatch(value, owner.short_name(), path, &go_type(field))) }
}

/// Integers may be written as `3` or `3.0`.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        // Exact within 2^53; larger floats are refused.
        (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
    })
}

fn check_bytes(owner: &Message, value: &Value, path: &str) -> Result<(), String> {
    use base64::Engine as _;
    let Some(text) = value.as_str() else {
        return Err(mismatch(value, owner.short_name(), path, "[]uint8"));
    };
    match base64::engine::general_purpose::STANDARD.decode(text.replace(['\n', '\r'], "")) {
        Ok(_) => Ok(()),
        Err(base64::DecodeError::InvalidByte(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", text.len() / 4 * 4)),
    }
}

fn check_time(owner: &Message, value: &Value, path: &str) -> Result<(), String> {
    let Some(text) = value.as_str() else {
        return Err(mismatch(value, owner.short_name(), path, "string"));
    };
    if text.is_empty() || time::parse(text).is_some() {
        return Ok(());
    }
    Err(format!(
        "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
    ))
}

fn check_quantity(value: &Value) -> Result<(), String> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    quantity::parse(&text).map(|_| ()).map_err(|problem| problem.to_string())
}

fn mismatch(value: &Value, owner: &str, path: &str, kind: &str) -> String {
    let word = match value {
        Value::Number(number) if kind.starts_with("int") => format!("number {number}"),
        other => word(other).to_owned(),
    };
    format!("json: cannot unmarshal {word} into Go struct field {owner}.{path} of type {kind}")
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The Go type of one element.
fn go_type(field: &Field) -> String {
    match field.kind {
        Type::Text => "string".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Double => "float64".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Duration => "v1.Duration".to_owned(),
        Type::FieldsV1 => "v1.FieldsV1".to_owned(),
        Type::TextList => "[]string".to_owned(),
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::RawExtension => "runtime.RawExtension".to_owned(),
        Type::Json => "v1.JSON".to_owned(),
        Type::SchemaOrArray | Type::SchemaOrBool | Type::SchemaOrTexts => {
            "v1.JSONSchemaProps".to_owned()
        }
        Type::Message(_) => field.message().map_or_else(String::new, |message| {
            let version = message.api_version.rsplit('/').next().unwrap_or_default();
            format!("{version}.{}", message.short_name())
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POD: &str = "io.k8s.api.core.v1.Pod";

    #[test]
    fn unknown_fields_have_paths() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}, "x": 1},
            "spec": {"containers": [{"name": "a", "foo": 1}], "nodeSelector": {"k": "v"}, "bar": {}}});
        let mut found = unknown_fields(POD, &pod);
        found.sort();
        assert_eq!(
            found,
            [
                "unknown field \"metadata.x\"",
                "unknown field \"spec.bar\"",
                "unknown field \"spec.containers[0].foo\"",
            ]
        );
    }

    #[test]
    fn wrong_types_are_named() {
        for (object, expected) in [
            (
                json!({"spec": {"replicas": "3"}}),
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": {}}}}}),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels.a of type string",
            ),
        ] {
            assert_eq!(
                check_types("io.k8s.api.apps.v1.Deployment", &object).unwrap_err(),
                expected
            );
        }
        let limits = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}});
        assert!(check_types(POD, &limits).unwrap_err().starts_with("quantities must match"));
        let fine = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}]}});
        assert_eq!(check_types(POD, &fine), Ok(()));
    }
}
