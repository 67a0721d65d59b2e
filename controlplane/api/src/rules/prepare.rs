//! What a create or an update may set: status and spec are written separately, generation counts spec changes.
//! Upstream: `pkg/registry/<group>/<resource>/strategy.go`.

use serde_json::{Map, Value, json};

use crate::{Kind, Scope};

/// Metadata that clients cannot change after the create.
const FIXED_METADATA: [&str; 7] = [
    "uid",
    "name",
    "namespace",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
];

/// Before a create: clears what clients may not set (status of kinds that have the subresource), sets generation 1.
///
/// Jobs get their selector and labels here; they need `metadata.uid`, so the caller sets that first.
pub fn prepare_create(kind: &Kind, object: &mut Value) {
    if kind.scope == Scope::Cluster {
        remove(object, &["metadata"], "namespace");
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        remove(object, &["metadata"], field);
    }
    // A kubelet registers its Node with status.
    if kind.subresource("status").is_some() && kind.kind != "Node" {
        match initial_status(kind, object) {
            Some(status) => object["status"] = status,
            None => remove(object, &[], "status"),
        }
        crate::schema::fill_required(&kind.schema, object);
    }
    match kind.kind.as_str() {
        "Namespace" => add_namespace_finalizer(object),
        "Job" => super::defaults::generate_job_selector(object),
        _ => {}
    }
    if counts_generations(kind) {
        object["metadata"]["generation"] = json!(1);
    } else {
        remove(object, &["metadata"], "generation");
    }
}

fn initial_status(kind: &Kind, object: &Value) -> Option<Value> {
    match kind.kind.as_str() {
        "Pod" => Some(json!({"phase": "Pending", "qosClass": super::defaults::qos_class(object)})),
        "Namespace" => Some(json!({"phase": "Active"})),
        "PersistentVolume" | "PersistentVolumeClaim" => Some(json!({"phase": "Pending"})),
        _ => None,
    }
}

fn add_namespace_finalizer(object: &mut Value) {
    let finalizers = &mut object["spec"]["finalizers"];
    let own = json!("kubernetes");
    match finalizers {
        Value::Array(items) if items.contains(&own) => {}
        Value::Array(items) => items.push(own),
        _ => *finalizers = json!([own]),
    }
}

/// Before an update: keeps status (or, for the status subresource, everything else) from `old`, carries over
/// immutable metadata, and raises generation when the spec changed.
pub fn prepare_update(kind: &Kind, old: &Value, new: &mut Value, subresource: &str) {
    let has_status = kind.subresource("status").is_some();
    match subresource {
        "" if has_status => copy(old, new, "status"),
        "" => {}
        "status" => *new = with_status_of(kind, old, new),
        "approval" => *new = with_approval_of(old, new),
        "finalize" => *new = with_parts_of(old, new, &[&["spec", "finalizers"]]),
        "ephemeralcontainers" => {
            *new = with_parts_of(old, new, &[&["spec", "ephemeralContainers"]]);
        }
        "resize" => *new = with_resources_of(old, new),
        _ => {}
    }
    keep_metadata(old, new);
    if counts_generations(kind) {
        let before = old["metadata"]["generation"].as_i64().unwrap_or(1);
        let changed = subresource != "status" && spec_changed(old, new, has_status);
        new["metadata"]["generation"] = json!(before + i64::from(changed));
    }
}

fn counts_generations(kind: &Kind) -> bool {
    match kind.group.as_str() {
        _ if kind.schema.is_empty() => true,
        "apps" => kind.kind != "ControllerRevision",
        "batch"
        | "admissionregistration.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "apiextensions.k8s.io" => true,
        "networking.k8s.io" => {
            matches!(kind.kind.as_str(), "Ingress" | "IngressClass" | "NetworkPolicy")
        }
        "policy" => true,
        "" => matches!(kind.kind.as_str(), "Pod" | "ReplicationController"),
        _ => false,
    }
}

fn spec_changed(old: &Value, new: &Value, has_status: bool) -> bool {
    let content = |object: &Value| -> Map<String, Value> {
        let mut map = object.as_object().cloned().unwrap_or_default();
        for key in ["metadata", "apiVersion", "kind"] {
            map.remove(key);
        }
        if has_status {
            map.remove("status");
        }
        map
    };
    content(old) != content(new)
}

fn keep_metadata(old: &Value, new: &mut Value) {
    for field in FIXED_METADATA {
        match old["metadata"].get(field) {
            Some(value) => new["metadata"][field] = value.clone(),
            None => remove(new, &["metadata"], field),
        }
    }
}

/// The old object with the new status; most built-in kinds also take labels and annotations from status updates.
fn with_status_of(kind: &Kind, old: &Value, new: &Value) -> Value {
    let mut merged = old.clone();
    copy(new, &mut merged, "status");
    let mut fields = vec!["managedFields", "resourceVersion"];
    if !kind.schema.is_empty() {
        fields.extend(["annotations", "finalizers"]);
        // As upstream's strategies: labels of Deployments and owners of Pods are not the status writer's.
        fields.extend((kind.kind != "Deployment").then_some("labels"));
        fields.extend((kind.kind != "Pod").then_some("ownerReferences"));
    }
    copy_metadata(new, &mut merged, &fields);
    match kind.kind.as_str() {
        "CertificateSigningRequest" => {
            set_or_remove(&mut merged, "conditions", with_approvals_of(old, new));
        }
        // The class is the server's, from the create on: who leaves it out means the same.
        "Pod" if merged["status"]["qosClass"].as_str().unwrap_or_default().is_empty() => {
            let class = &old["status"]["qosClass"];
            if class.is_string() {
                merged["status"]["qosClass"] = class.clone();
            }
        }
        _ => {}
    }
    merged
}

/// The approval subresource writes the conditions, whatever their types.
fn with_approval_of(old: &Value, new: &Value) -> Value {
    let mut merged = old.clone();
    copy_metadata(new, &mut merged, &["managedFields", "resourceVersion", "labels", "annotations"]);
    set_or_remove(&mut merged, "conditions", conditions(new).cloned().collect());
    merged
}

/// The new conditions, but the approvals and denials are the old ones: the status writer may not change these.
fn with_approvals_of(old: &Value, new: &Value) -> Vec<Value> {
    let is_approval = |one: &&Value| matches!(one["type"].as_str(), Some("Approved" | "Denied"));
    let kept = conditions(old).filter(is_approval);
    kept.chain(conditions(new).filter(|one| !is_approval(one))).cloned().collect()
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

fn set_or_remove(object: &mut Value, field: &str, items: Vec<Value>) {
    if items.is_empty() {
        remove(object, &["status"], field);
    } else {
        object["status"][field] = Value::Array(items);
    }
}

/// The old object with the parts at some paths (two names each) of the new one.
fn with_parts_of(old: &Value, new: &Value, paths: &[&[&str; 2]]) -> Value {
    let mut merged = old.clone();
    copy_metadata(new, &mut merged, &["managedFields", "resourceVersion"]);
    for [parent, field] in paths {
        match new[*parent].get(*field) {
            Some(value) => merged[*parent][*field] = value.clone(),
            None => remove(&mut merged, &[parent], field),
        }
    }
    merged
}

/// The resize subresource writes containers' resources and resize policies.
fn with_resources_of(old: &Value, new: &Value) -> Value {
    let mut merged = with_parts_of(old, new, &[]);
    for list in ["containers", "initContainers"] {
        let wanted = new["spec"][list].as_array().cloned().unwrap_or_default();
        let Some(items) = merged["spec"].get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for item in items {
            if let Some(source) = wanted.iter().find(|one| one["name"] == item["name"]) {
                for field in ["resources", "resizePolicy"] {
                    copy(source, item, field);
                }
            }
        }
    }
    merged
}

fn copy_metadata(from: &Value, to: &mut Value, fields: &[&str]) {
    for field in fields {
        match from["metadata"].get(*field) {
            Some(value) => to["metadata"][*field] = value.clone(),
            None => remove(to, &["metadata"], field),
        }
    }
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    match from.get(field) {
        Some(value) => to[field] = value.clone(),
        None => remove(to, &[], field),
    }
}

fn remove(object: &mut Value, path: &[&str], field: &str) {
    let parent = path.iter().try_fold(object, |value, key| value.get_mut(*key));
    if let Some(map) = parent.and_then(Value::as_object_mut) {
        map.remove(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::kind;

    #[test]
    fn creates_start_clean() {
        let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": []}, "status": {"phase": "Running"}});
        prepare_create(&kind("Pod"), &mut pod);
        assert_eq!(pod["status"]["phase"], "Pending");
        assert_eq!(pod["metadata"]["generation"], 1);
        let mut namespace = json!({"metadata": {"name": "a"}});
        prepare_create(&kind("Namespace"), &mut namespace);
        assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(namespace["status"]["phase"], "Active");
    }

    #[test]
    fn spec_and_status_are_written_apart() {
        let kind = kind("Deployment");
        let old = json!({"metadata": {"name": "a", "uid": "u", "generation": 1, "labels": {"a": "1"}},
            "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let changed = json!({"metadata": {"name": "a", "uid": "x"}, "spec": {"replicas": 2}, "status": {"replicas": 9}});
        let mut update = changed.clone();
        prepare_update(&kind, &old, &mut update, "");
        assert_eq!(
            update,
            json!({"metadata": {"name": "a", "uid": "u", "generation": 2},
            "spec": {"replicas": 2}, "status": {"replicas": 1}})
        );
        let mut status = changed;
        prepare_update(&kind, &old, &mut status, "status");
        assert_eq!(status["spec"]["replicas"], 1);
        assert_eq!(status["status"]["replicas"], 9);
        assert_eq!(status["metadata"]["generation"], 1);
        assert_eq!(status["metadata"]["labels"], json!({"a": "1"}));
    }

    #[test]
    fn approvals_keep_the_certificate() {
        let kind = kind("CertificateSigningRequest");
        let old = json!({"metadata": {"name": "c"}, "spec": {"request": "x"}, "status": {"certificate": "pem"}});
        let mut new = json!({"metadata": {"name": "c"}, "spec": {"request": "y"},
            "status": {"conditions": [{"type": "Approved"}, {"type": "Other"}]}});
        prepare_update(&kind, &old, &mut new, "approval");
        assert_eq!(new["spec"]["request"], "x");
        assert_eq!(
            new["status"],
            json!({"certificate": "pem", "conditions": [{"type": "Approved"}, {"type": "Other"}]})
        );
        let mut status = json!({"metadata": {"name": "c"}, "spec": {"request": "x"},
            "status": {"conditions": [{"type": "Denied"}, {"type": "Failed"}]}});
        prepare_update(&kind, &new, &mut status, "status");
        let expect = json!([{"type": "Approved"}, {"type": "Failed"}]);
        assert_eq!(status["status"]["conditions"], expect);
    }
}
