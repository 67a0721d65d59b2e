//! Validation of built-in kinds, upstream `pkg/apis/<group>/validation`.

mod cluster;
mod container;
mod core;
mod metadata;
mod network;
mod pod;
mod resources;
mod sysctl;
mod volume;
mod workloads;

use serde_json::Value;

use super::problems::Problems;
use crate::Kind;

/// Collects all problems of an object, and of its change when there is an old one.
pub(super) fn validate(kind: &Kind, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    metadata::validate(kind, new, old, problems);
    let name = kind.kind.as_str();
    match kind.group.as_str() {
        "" if name == "Pod" => pod::validate(new, old, problems),
        "" if matches!(name, "Service" | "Endpoints") => {
            network::validate(name, new, old, problems)
        }
        "" if matches!(name, "ReplicationController" | "PodTemplate") => {
            workloads::validate(name, new, old, problems);
        }
        "" => core::validate(name, new, old, problems),
        "apps" | "batch" | "autoscaling" | "policy" => {
            workloads::validate(name, new, old, problems);
        }
        "networking.k8s.io" | "discovery.k8s.io" => network::validate(name, new, old, problems),
        _ => cluster::validate(name, new, old, problems),
    }
}

/// Upstream `ValidatePodEphemeralContainersUpdate`.
pub(super) fn validate_ephemeral(new: &Value, old: &Value, problems: &mut Problems) {
    pod::check_ephemeral_update(new, old, problems);
}

/// The text of a field, or "".
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The items of a list with their paths.
fn items<'a>(
    value: &'a Value,
    field: &str,
    path: &str,
) -> impl Iterator<Item = (String, &'a Value)> {
    let path = format!("{path}.{field}").trim_start_matches('.').to_owned();
    value[field]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .enumerate()
        .map(move |(index, item)| (format!("{path}[{index}]"), item))
}

/// Required when a text is absent or empty.
fn require_text(value: &Value, field: &str, path: &str, problems: &mut Problems) -> bool {
    let missing = text(value, field).is_empty();
    if missing {
        problems.required(format!("{path}.{field}").trim_start_matches('.'), "");
    }
    !missing
}

/// A port number, 1 to 65535.
fn check_port(value: &Value, path: &str, problems: &mut Problems) {
    match value {
        Value::Number(number)
            if number.as_i64().is_some_and(|port| !(1..=65_535).contains(&port)) =>
        {
            problems.invalid(path, value, "must be between 1 and 65535, inclusive");
        }
        Value::String(name) => {
            for problem in super::names::port_name(name) {
                problems.invalid(path, value, &problem);
            }
        }
        _ => {}
    }
}

/// A `LabelSelector`.
fn check_selector(selector: &Value, path: &str, problems: &mut Problems) {
    metadata::labels(&selector["matchLabels"], &format!("{path}.matchLabels"), problems);
    for (path, one) in items(selector, "matchExpressions", path) {
        let values = one["values"].as_array().map_or(0, Vec::len);
        let values_path = format!("{path}.values");
        match text(one, "operator") {
            "In" | "NotIn" if values == 0 => problems
                .required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'"),
            "Exists" | "DoesNotExist" if values > 0 => problems.forbidden(
                &values_path,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => problems.invalid(
                &format!("{path}.operator"),
                &one["operator"],
                "not a valid selector operator",
            ),
        }
        let key = text(one, "key");
        problems.check_text(&format!("{path}.key"), key, super::names::label_key(key));
    }
}
