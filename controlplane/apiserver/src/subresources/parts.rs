//! Which part of an object a write to a subresource may change. Pure.

use serde_json::{Value, json};

/// Takes only what `subresource` owns from `new`; the rest stays as in `old`. Subresources that the rules of kinds
/// know (status) and the object itself pass through.
#[must_use]
pub fn keep_other_parts(subresource: &str, old: &Value, new: Value) -> Value {
    match subresource {
        "finalize" => with(old, &new, "spec", "finalizers"),
        "approval" => with(old, &new, "status", "conditions"),
        "ephemeralcontainers" => with(old, &new, "spec", "ephemeralContainers"),
        "resize" => resized(old, &new),
        _ => new,
    }
}

fn with(old: &Value, new: &Value, part: &str, field: &str) -> Value {
    let mut object = keep_metadata_checks(old, new);
    if !object[part].is_object() {
        object[part] = json!({});
    }
    match new[part].get(field) {
        Some(value) => object[part][field] = value.clone(),
        None => drop(object[part].as_object_mut().and_then(|fields| fields.remove(field))),
    }
    object
}

/// `old` with the identity that `new` claims, so that preconditions are still checked.
fn keep_metadata_checks(old: &Value, new: &Value) -> Value {
    let mut object = old.clone();
    for field in ["resourceVersion", "uid", "managedFields"] {
        if let Some(value) = new["metadata"].get(field) {
            object["metadata"][field] = value.clone();
        }
    }
    object
}

fn resized(old: &Value, new: &Value) -> Value {
    let mut object = keep_metadata_checks(old, new);
    for list in ["containers", "initContainers"] {
        let wanted = new["spec"][list].as_array().cloned().unwrap_or_default();
        for container in object["spec"][list].as_array_mut().into_iter().flatten() {
            let same = wanted.iter().find(|other| other["name"] == container["name"]);
            for field in ["resources", "resizePolicy"] {
                if let Some(value) = same.and_then(|other| other.get(field)) {
                    container[field] = value.clone();
                }
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subresource_changes_its_own_part_only() {
        let old = json!({"metadata": {"name": "a", "uid": "1"}, "spec": {"x": 1, "finalizers": ["kubernetes"],
            "containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "p"}});
        let new = json!({"metadata": {"name": "b"}, "spec": {"x": 2, "finalizers": [], "ephemeralContainers": [{"name": "e"}],
            "containers": [{"name": "c", "image": "j", "resources": {"limits": {"cpu": 1}}}]},
            "status": {"conditions": [{"type": "Approved"}]}});
        let finalized = keep_other_parts("finalize", &old, new.clone());
        assert_eq!(finalized["spec"]["finalizers"], json!([]));
        assert_eq!(finalized["spec"]["x"], 1);
        let approved = keep_other_parts("approval", &old, new.clone());
        assert_eq!(approved["status"], json!({"phase": "p", "conditions": [{"type": "Approved"}]}));
        let debugged = keep_other_parts("ephemeralcontainers", &old, new.clone());
        assert_eq!(debugged["spec"]["ephemeralContainers"][0]["name"], "e");
        let resized = keep_other_parts("resize", &old, new);
        assert_eq!(resized["spec"]["containers"][0], json!({"name": "c", "image": "i", "resources": {"limits": {"cpu": 1}}}));
    }
}
