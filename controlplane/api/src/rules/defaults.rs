//! Defaults of built-in kinds, upstream `pkg/apis/<group>/<version>/defaults.go`.

mod cluster;
mod devices;
mod extension;
mod network;
mod pod;
mod workloads;

use serde_json::{Value, json};

use crate::Kind;

pub(crate) use pod::qos_class;
pub(super) use workloads::generate_job_selector;

/// Rewrites input-only forms before unknown fields and zero values are dropped.
pub(super) fn before_normalizing(kind: &Kind, object: &mut Value) {
    if kind.kind == "Secret" && kind.group.is_empty() {
        cluster::fold_string_data(object);
    }
}

/// Fills in the defaults of a kind.
pub(super) fn apply(kind: &Kind, object: &mut Value) {
    match kind.group.as_str() {
        "" => cluster::apply_core(&kind.kind, object),
        "apps" | "batch" | "autoscaling" => workloads::apply(kind, object),
        "networking.k8s.io" | "discovery.k8s.io" => network::apply(&kind.kind, object),
        "rbac.authorization.k8s.io" | "storage.k8s.io" | "scheduling.k8s.io" => {
            cluster::apply_others(&kind.kind, object);
        }
        "resource.k8s.io" => devices::apply(&kind.kind, object),
        "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "apiregistration.k8s.io"
        | "flowcontrol.apiserver.k8s.io" => extension::apply(&kind.kind, object),
        _ => {}
    }
}

/// Sets a field unless it is there.
fn default(object: &mut Value, field: &str, value: Value) {
    let Some(map) = object.as_object_mut() else { return };
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.to_owned(), value);
    }
}

/// Sets a text field unless it is there and not empty.
fn default_text(object: &mut Value, field: &str, value: &str) {
    let Some(map) = object.as_object_mut() else { return };
    if map.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
        map.insert(field.to_owned(), json!(value));
    }
}

/// The object at a field, made when absent.
fn section<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    default(object, field, json!({}));
    &mut object[field]
}

/// Every item of a list field.
fn items<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}
