//! The status of a definition: its names are accepted and it is served. Pure but for the clock.

use serde_json::{Value, json};

use super::row::CLEANUP;
use crate::clock;

/// The definition with its status filled in; `None` when it is already.
#[must_use]
pub fn accepted(definition: &Value) -> Option<Value> {
    let mut object = definition.clone();
    fill_names(&mut object);
    let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|name| name == CLEANUP) {
        let mut finalizers = finalizers;
        finalizers.push(json!(CLEANUP));
        object["metadata"]["finalizers"] = Value::Array(finalizers);
    }
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    object["status"]["acceptedNames"] = object["spec"]["names"].clone();
    let stored = object["spec"]["versions"].as_array().into_iter().flatten();
    let stored = stored.filter(|version| version["storage"] == true);
    let names: Vec<Value> = stored.map(|version| version["name"].clone()).collect();
    let mut known = object["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
    for name in names {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    object["status"]["storedVersions"] = Value::Array(known);
    set(&mut object, "NamesAccepted", "NoConflicts", "no conflicts found");
    set(&mut object, "Established", "InitialNamesAccepted", "the initial names have been accepted");
    (object != *definition).then_some(object)
}

fn fill_names(object: &mut Value) {
    let names = &mut object["spec"]["names"];
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    if names["listKind"].as_str().unwrap_or_default().is_empty() {
        names["listKind"] = json!(format!("{kind}List"));
    }
    if names["singular"].as_str().unwrap_or_default().is_empty() {
        names["singular"] = json!(kind.to_lowercase());
    }
}

fn set(object: &mut Value, kind: &str, reason: &str, message: &str) {
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    if conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
    {
        return;
    }
    conditions.retain(|condition| condition["type"] != kind);
    conditions.push(json!({
        "type": kind, "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": clock::now(),
    }));
    object["status"]["conditions"] = Value::Array(conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_accepted_once() {
        let definition = json!({"metadata": {"name": "a"}, "spec": {"names": {"kind": "A", "plural": "as"},
            "versions": [{"name": "v1", "storage": true}]}});
        let first = accepted(&definition).unwrap();
        assert_eq!(first["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(first["status"]["acceptedNames"]["listKind"], "AList");
        assert_eq!(accepted(&first), None);
    }
}
