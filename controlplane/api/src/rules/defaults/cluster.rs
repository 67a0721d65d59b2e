//! Defaults of the core group except pods and services, and of rbac, storage and scheduling.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{default, default_text, items, network, pod, section, text, workloads};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn apply_core(kind: &str, object: &mut Value) {
    match kind {
        "Pod" => pod::apply_pod(object),
        "PodTemplate" => workloads::apply_template(object),
        "ReplicationController" => apply_controller(object),
        "Service" => network::apply_service(object),
        "Endpoints" => network::apply_endpoints(object),
        "Secret" => default_text(object, "type", "Opaque"),
        "Namespace" => apply_namespace(object),
        "Node" => apply_node(object),
        "PersistentVolume" => {
            let spec = section(object, "spec");
            default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
            default_text(spec, "volumeMode", "Filesystem");
            default_text(section(object, "status"), "phase", "Pending");
        }
        "PersistentVolumeClaim" => {
            default_text(section(object, "spec"), "volumeMode", "Filesystem");
            default_text(section(object, "status"), "phase", "Pending");
        }
        "LimitRange" => items(section(object, "spec"), "limits").for_each(apply_limit),
        _ => {}
    }
}

/// `stringData` is write-only text that becomes `data`.
pub(super) fn fold_string_data(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let Some(Value::Object(texts)) = map.remove("stringData") else { return };
    let data = section(object, "data");
    for (key, value) in texts {
        let text = value.as_str().unwrap_or_default();
        data[key] = json!(base64::engine::general_purpose::STANDARD.encode(text));
    }
}

/// Every namespace can be selected by its name.
fn apply_namespace(object: &mut Value) {
    let name = text(&object["metadata"], "name").to_owned();
    if name.is_empty() {
        return;
    }
    let labels = section(section(object, "metadata"), "labels");
    labels["kubernetes.io/metadata.name"] = json!(name);
}

fn apply_node(object: &mut Value) {
    let capacity = object["status"].get("capacity").cloned();
    if let Some(capacity) = capacity {
        default(section(object, "status"), "allocatable", capacity);
    }
}

fn apply_controller(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let spec = section(object, "spec");
    default(spec, "replicas", json!(1));
    if let Some(labels) = labels {
        default(spec, "selector", labels.clone());
        default(section(object, "metadata"), "labels", labels);
    }
    workloads::apply_template(section(object, "spec"));
}

/// Container limits: `default` follows `max`, `defaultRequest` follows `default`, then `min`.
fn apply_limit(limit: &mut Value) {
    if limit["type"] != "Container" {
        return;
    }
    for (target, source) in
        [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")]
    {
        let Some(amounts) = limit[source].as_object().cloned() else { continue };
        let section = section(limit, target);
        for (name, amount) in amounts {
            default(section, &name, amount);
        }
    }
}

pub(super) fn apply_others(kind: &str, object: &mut Value) {
    match kind {
        "RoleBinding" | "ClusterRoleBinding" => apply_binding(object),
        "PriorityClass" => default_text(object, "preemptionPolicy", "PreemptLowerPriority"),
        "StorageClass" => {
            default_text(object, "reclaimPolicy", "Delete");
            default_text(object, "volumeBindingMode", "Immediate");
        }
        "CSIDriver" => apply_driver(object),
        _ => {}
    }
}

fn apply_binding(object: &mut Value) {
    if object.get("roleRef").is_some() {
        default_text(&mut object["roleRef"], "apiGroup", RBAC_GROUP);
    }
    for subject in items(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            default_text(subject, "apiGroup", RBAC_GROUP);
        }
    }
}

fn apply_driver(object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "attachRequired", json!(true));
    for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        default(spec, field, json!(false));
    }
    default_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    default(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::rules::tests::defaulted;

    #[test]
    fn core_kinds_get_their_defaults() {
        let secret = defaulted("Secret", json!({"stringData": {"a": "b"}}));
        assert_eq!(secret, json!({"data": {"a": "Yg=="}, "type": "Opaque", "metadata": {}}));
        let namespace = defaulted("Namespace", json!({"metadata": {"name": "x"}}));
        assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "x");
        let binding = defaulted(
            "ClusterRoleBinding",
            json!({"roleRef": {"kind": "ClusterRole", "name": "x"}, "subjects": [{"kind": "User", "name": "u"}]}),
        );
        assert_eq!(binding["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
        assert_eq!(binding["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    }
}
