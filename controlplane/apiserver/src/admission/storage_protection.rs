//! StorageObjectInUseProtection: claims and volumes that something uses outlive their deletion. The controllers of the
//! same name take the finalizers away.

use serde_json::{Value, json};

use super::request::Request;

pub fn admit(request: &Request<'_>, object: &mut Value) {
    if !request.is_create() {
        return;
    }
    if request.is("", "persistentvolumeclaims") {
        add(object, "kubernetes.io/pvc-protection");
    } else if request.is("", "persistentvolumes") {
        add(object, "kubernetes.io/pv-protection");
    }
}

fn add(object: &mut Value, finalizer: &str) {
    let mut list = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !list.iter().any(|one| one == finalizer) {
        list.push(json!(finalizer));
    }
    object["metadata"]["finalizers"] = Value::Array(list);
}
