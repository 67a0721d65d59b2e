//! Validation of built-in kinds, upstream `pkg/apis/<group>/validation`.

mod addresses;
mod claims;
mod cluster;
mod container;
mod core;
mod events;
mod flowcontrol;
mod ingress;
mod metadata;
mod network;
mod persistent;
mod pod;
mod resources;
mod scaling;
mod slices;
mod status;
mod storage;
mod sysctl;
mod volume;
mod workloads;

use std::collections::BTreeSet;

use serde_json::Value;

use super::names;
use super::problems::Problems;
use crate::Kind;

const DRIVER_BYTES_MAX: usize = 63;

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
        "apps" | "batch" => workloads::validate(name, new, old, problems),
        "discovery.k8s.io" => network::validate(name, new, old, problems),
        // What is stored stays writable: labels, finalizers and status of objects from before a rule.
        _ if old.is_none_or(|old| has_changed(new, old)) => {
            validate_changed(kind, new, old, problems);
        }
        _ => {}
    }
}

fn validate_changed(kind: &Kind, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let name = kind.kind.as_str();
    match kind.group.as_str() {
        "" | "events.k8s.io" if name == "Event" => events::validate(kind, new, old, problems),
        "" if matches!(name, "PersistentVolume" | "PersistentVolumeClaim") => {
            persistent::validate(name, new, old, problems);
        }
        "" => core::validate(name, new, old, problems),
        "autoscaling" | "policy" => scaling::validate(name, new, problems),
        "networking.k8s.io" => match name {
            "Ingress" | "IngressClass" => ingress::validate(name, new, old, problems),
            "IPAddress" | "ServiceCIDR" => addresses::validate(name, new, old, problems),
            _ => network::validate(name, new, old, problems),
        },
        "storage.k8s.io" => storage::validate(name, new, old, problems),
        "resource.k8s.io" => claims::validate(kind, new, old, problems),
        "flowcontrol.apiserver.k8s.io" => flowcontrol::validate(name, new, old, problems),
        _ => cluster::validate(name, new, old, problems),
    }
}

/// Collects all problems of a write of an object's status: everything else is what is stored already.
pub(super) fn validate_status(kind: &Kind, new: &Value, old: &Value, problems: &mut Problems) {
    metadata::validate(kind, new, Some(old), problems);
    status::validate(kind, new, old, problems);
}

/// Whether anything but metadata and status differs.
fn has_changed(new: &Value, old: &Value) -> bool {
    let content = |object| {
        let fields = Value::as_object(object).into_iter().flatten();
        let envelope = ["apiVersion", "kind", "metadata", "status"];
        fields.filter(move |(field, _)| !envelope.contains(&field.as_str()))
    };
    !content(new).eq(content(old))
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

/// The name of another object or of a kind: required, one segment of a path.
fn check_segment(value: &Value, field: &str, path: &str, problems: &mut Problems) {
    if require_text(value, field, path, problems) {
        let name = text(value, field);
        problems.check_text(&format!("{path}.{field}"), name, names::path_segment(name));
    }
}

/// The name of a driver of storage or devices: required, a domain in any case.
fn check_driver(value: &Value, field: &str, path: &str, problems: &mut Problems) {
    if !require_text(value, field, path, problems) {
        return;
    }
    let (path, name) = (format!("{path}.{field}"), text(value, field));
    if name.len() > DRIVER_BYTES_MAX {
        problems.too_long(&path, DRIVER_BYTES_MAX);
    }
    problems.check_text(&path, name, names::dns1123_subdomain(&name.to_lowercase()));
}

/// False, and a problem, where a list has too many items.
fn check_size(
    value: &Value,
    field: &str,
    items_max: usize,
    path: &str,
    problems: &mut Problems,
) -> bool {
    let found = value[field].as_array().map_or(0, Vec::len);
    if found > items_max {
        problems.too_many(&format!("{path}.{field}"), found, items_max);
    }
    found <= items_max
}

/// No two items of a list have the same text in a field.
fn check_unique(value: &Value, field: &str, key: &str, path: &str, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (path, item) in items(value, field, path) {
        if !seen.insert(text(item, key)) {
            problems.duplicate(&path, &item[key]);
        }
    }
}

/// Whether an amount is more than zero; what is no amount is refused elsewhere.
fn is_positive(amount: &Value) -> bool {
    resources::parse(amount).is_none_or(|amount| !amount.is_zero() && !amount.is_negative())
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
            for problem in names::port_name(name) {
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
        problems.check_text(&format!("{path}.key"), key, names::label_key(key));
    }
}
