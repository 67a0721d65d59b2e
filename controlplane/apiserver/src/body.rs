//! Request bodies: bounded reading, decoding by media type, and `fieldValidation`.

mod strict_json;
mod strict_yaml;

use api::{Kind, Reason, Status, schema};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use crate::errors::bad_request;

/// Largest request body, as upstream.
pub const BODY_BYTES_MAX: usize = 3 << 20;

/// A decoded body.
#[derive(Debug)]
pub struct Decoded {
    pub object: Value,
    /// Paths of fields that occur twice.
    pub duplicates: Vec<String>,
    /// The encoding leaves no unknown fields to find.
    pub typed: bool,
}

/// What happens to unknown and duplicate fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    Ignore,
    Warn,
    Strict,
}

impl Validation {
    pub fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => Err(Status::new(
                Reason::Invalid,
                format!(
                    "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \
                     {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                ),
            )),
        }
    }
}

/// Reads a body up to [`BODY_BYTES_MAX`].
pub async fn read(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            crate::audit::request_body(&bytes);
            Ok(bytes)
        }
        Err(error) if error.is::<LengthLimitError>() => Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {BODY_BYTES_MAX}"),
        )),
        Err(error) => Err(bad_request(format!("unable to read the request body: {error}"))),
    }
}

/// Decodes JSON, YAML or protobuf. An absent media type means JSON.
pub fn decode(content_type: &str, bytes: &[u8]) -> Result<Decoded, Status> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    match media {
        "" | "application/json" | "*/*" => decode_json(bytes),
        "application/yaml" | "application/x-yaml" => decode_yaml(bytes),
        api::protobuf::MEDIA_TYPE => Ok(Decoded {
            object: api::protobuf::decode(bytes)?,
            duplicates: Vec::new(),
            typed: true,
        }),
        _ => Err(unsupported_media_type()),
    }
}

/// 415 as upstream words it.
#[must_use]
pub fn unsupported_media_type() -> Status {
    Status::new(
        Reason::UnsupportedMediaType,
        "the body of the request was in an unknown format - accepted media types include: \
         application/json, application/yaml, application/vnd.kubernetes.protobuf",
    )
}

fn decode_json(bytes: &[u8]) -> Result<Decoded, Status> {
    // A protobuf envelope without its media type is a client's mistake that is easy to forgive.
    let (object, duplicates) = strict_json::parse(bytes)
        .map_err(|error| bad_request(format!("error decoding the body as JSON: {error}")))?;
    Ok(Decoded { object, duplicates, typed: false })
}

fn decode_yaml(bytes: &[u8]) -> Result<Decoded, Status> {
    let (object, duplicates) = strict_yaml::parse(bytes)
        .map_err(|error| bad_request(format!("error converting YAML to JSON: {error}")))?;
    Ok(Decoded { object, duplicates, typed: false })
}

/// Checks a body against its kind: apiVersion and kind, JSON types, unknown and duplicate fields. Returns the object
/// without unknown fields, and warnings.
pub fn check(
    kind: &Kind,
    decoded: Decoded,
    validation: Validation,
) -> Result<(Value, Vec<String>), Status> {
    let Decoded { mut object, duplicates, typed } = decoded;
    check_type_meta(kind, &mut object)?;
    let refuse = |problem: &str| {
        bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {problem}",
            kind.kind, kind.version, kind.kind
        ))
    };
    if !kind.schema.is_empty() {
        schema::check_types(&kind.schema, &object).map_err(|problem| refuse(&problem))?;
    }
    if typed {
        return Ok((object, Vec::new()));
    }
    let unknown = match &kind.custom {
        Some(custom) => {
            crate::custom::prune(custom, &mut object).map_err(|problem| refuse(&problem))?
        }
        None => schema::unknown_fields(&kind.schema, &object),
    };
    for problem in unknown.iter().filter(|_| kind.custom.is_none()) {
        remove_path(&mut object, path_in(problem));
    }
    let mut problems: Vec<String> = unknown.iter().map(|text| describe_unknown(text)).collect();
    problems.extend(duplicates.iter().map(|text| describe_duplicate(text)));
    match validation {
        Validation::Strict if !problems.is_empty() => {
            Err(refuse(&format!("strict decoding error: {}", problems.join(", "))))
        }
        Validation::Warn => Ok((object, problems)),
        Validation::Strict | Validation::Ignore => Ok((object, Vec::new())),
    }
}

/// The paths of fields that the kind's schema does not know.
pub fn unknown_fields(kind: &Kind, object: &Value) -> Vec<String> {
    let found = match &kind.custom {
        // What is wrong with the metadata is said when the body is checked.
        Some(custom) => crate::custom::prune(custom, &mut object.clone()).unwrap_or_default(),
        None => schema::unknown_fields(&kind.schema, object),
    };
    found.iter().map(|problem| path_in(problem).to_owned()).collect()
}

fn describe_unknown(text: &str) -> String {
    if text.starts_with("unknown field") { text.into() } else { format!("unknown field {text:?}") }
}

/// YAML's duplicates are worded by their lines, JSON's by their paths.
fn describe_duplicate(text: &str) -> String {
    let worded = text.starts_with("line ") || text.starts_with("duplicate field");
    if worded { text.into() } else { format!("duplicate field {text:?}") }
}

fn path_in(problem: &str) -> &str {
    problem.split('"').nth(1).unwrap_or(problem)
}

fn check_type_meta(kind: &Kind, object: &mut Value) -> Result<(), Status> {
    let Some(fields) = object.as_object_mut() else {
        return Err(bad_request("the body of the request is not an object"));
    };
    let expected = kind.api_version();
    for (key, expected) in [("apiVersion", &expected), ("kind", &kind.kind)] {
        match fields.get(key).and_then(Value::as_str).unwrap_or_default() {
            "" => drop(fields.insert(key.into(), Value::from(expected.as_str()))),
            given if given == expected => {}
            given if key == "apiVersion" => {
                return Err(bad_request(format!(
                    "the API version in the data ({given}) does not match the expected API version ({expected})"
                )));
            }
            given => {
                return Err(bad_request(format!(
                    "the kind in the data ({given}) does not match the expected kind ({expected})"
                )));
            }
        }
    }
    if !fields.get("metadata").is_some_and(Value::is_object) {
        fields.insert("metadata".into(), Value::Object(serde_json::Map::new()));
    }
    Ok(())
}

/// Removes `spec.containers[0].foo`.
fn remove_path(object: &mut Value, path: &str) {
    let (parent, last) = match path.rsplit_once('.') {
        Some((parent, last)) => (parent, last),
        None => ("", path),
    };
    let mut at = object;
    for part in parent.split('.').filter(|part| !part.is_empty()) {
        let (key, indexes) = part.split_once('[').unwrap_or((part, ""));
        let Some(next) = at.get_mut(key) else { return };
        at = next;
        for index in indexes.split('[').filter(|index| !index.is_empty()) {
            let Ok(index) = index.trim_end_matches(']').parse::<usize>() else { return };
            let Some(next) = at.get_mut(index) else { return };
            at = next;
        }
    }
    if let Some(fields) = at.as_object_mut() {
        fields.remove(last);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_removed_by_path() {
        let mut object = json!({"a": 1, "spec": {"x": [{"b": 1, "c": 2}], "y": 2}});
        for path in ["a", "spec.x[0].b", "spec.y", "spec.none.z"] {
            remove_path(&mut object, path);
        }
        assert_eq!(object, json!({"spec": {"x": [{"c": 2}]}}));
    }
}
