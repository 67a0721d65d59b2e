//! The status of a definition: are its names free, is it served, is it going away. Upstream
//! `apiextensions-apiserver/pkg/controller/status/naming_controller.go` and `establish`. Pure but for the clock.

use serde_json::{Value, json};

use super::row::CLEANUP;
use crate::clock;

/// Whether objects of the definition are served.
#[must_use]
pub fn is_established(definition: &Value) -> bool {
    is_true(definition, "Established")
}

fn is_true(definition: &Value, kind: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == kind && one["status"] == "True")
}

/// The definition with its status filled in; `None` when it is already. `others` are all definitions there are.
#[must_use]
pub fn accepted(definition: &Value, others: &[&Value]) -> Option<Value> {
    let mut object = definition.clone();
    super::definition::set_defaults(&mut object);
    let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|name| name == CLEANUP) {
        finalizers.push(json!(CLEANUP));
        object["metadata"]["finalizers"] = Value::Array(finalizers);
    }
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    store_versions(&mut object);
    match conflict(&object, others) {
        None => {
            object["status"]["acceptedNames"] = object["spec"]["names"].clone();
            set(&mut object, "NamesAccepted", "True", "NoConflicts", "no conflicts found");
            set(
                &mut object,
                "Established",
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
            );
        }
        Some((reason, message)) => {
            set(&mut object, "NamesAccepted", "False", reason, &message);
            if !is_established(definition) {
                set(
                    &mut object,
                    "Established",
                    "False",
                    "NotAccepted",
                    "not all names are accepted",
                );
            }
        }
    }
    (object != *definition).then_some(object)
}

fn store_versions(object: &mut Value) {
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
}

/// The first name that another definition of the group has already: reason and message.
fn conflict(definition: &Value, others: &[&Value]) -> Option<(&'static str, String)> {
    let own = api::meta::name(definition);
    let group = &definition["spec"]["group"];
    let rivals = others.iter().filter(|other| {
        other["spec"]["group"] == *group
            && api::meta::name(other) != own
            && is_true(other, "NamesAccepted")
    });
    let taken: Vec<&Value> = rivals.map(|other| &other["status"]["acceptedNames"]).collect();
    let texts = |names: &Value, fields: &[&str]| -> Vec<String> {
        let mut found = Vec::new();
        for field in fields {
            match &names[*field] {
                Value::String(text) => found.push(text.clone()),
                Value::Array(list) => {
                    found.extend(list.iter().filter_map(Value::as_str).map(str::to_owned))
                }
                _ => {}
            }
        }
        found
    };
    const RESOURCES: [&str; 3] = ["plural", "singular", "shortNames"];
    const KINDS: [&str; 2] = ["kind", "listKind"];
    let names = &definition["spec"]["names"];
    for (field, pool, reason) in [
        ("plural", &RESOURCES[..], "PluralConflict"),
        ("singular", &RESOURCES[..], "SingularConflict"),
        ("shortNames", &RESOURCES[..], "ShortNamesConflict"),
        ("kind", &KINDS[..], "KindConflict"),
        ("listKind", &KINDS[..], "ListKindConflict"),
    ] {
        for name in texts(names, &[field]) {
            if taken.iter().any(|other| texts(other, pool).contains(&name)) {
                return Some((reason, format!("{name:?} is already in use")));
            }
        }
    }
    None
}

/// The definition with the condition that its objects are being deleted; `None` when it says so already.
#[must_use]
pub fn terminating(definition: &Value) -> Option<Value> {
    let mut object = definition.clone();
    let message = "CustomResource deletion is in progress";
    set(&mut object, "Terminating", "True", "InstanceDeletionInProgress", message);
    (object != *definition).then_some(object)
}

fn set(object: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().position(|condition| condition["type"] == kind);
    let before = found.map(|index| conditions[index].clone());
    if before.as_ref().is_some_and(|one| {
        one["status"] == status && (status == "True" || one["message"] == message)
    }) {
        return;
    }
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": clock::now(),
    });
    match found {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
    object["status"]["conditions"] = Value::Array(conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, kind: &str) -> Value {
        json!({"metadata": {"name": format!("{name}.a.b")}, "spec": {"group": "a.b", "names": {"kind": kind, "plural": name, "singular": format!("{name}1")},
            "versions": [{"name": "v1", "storage": true}]}})
    }

    #[test]
    fn a_definition_is_accepted_once() {
        let first = accepted(&definition("as", "A"), &[]).unwrap();
        assert_eq!(first["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(first["status"]["acceptedNames"]["listKind"], "AList");
        assert!(is_established(&first));
        assert_eq!(accepted(&first, &[&first]), None);
    }

    #[test]
    fn a_taken_name_is_not_accepted() {
        let first = accepted(&definition("as", "A"), &[]).unwrap();
        let second = accepted(&definition("bs", "A"), &[&first]).unwrap();
        assert!(!is_established(&second));
        assert_eq!(second["status"]["conditions"][0]["reason"], "KindConflict");
        assert_eq!(second["status"]["conditions"][0]["message"], "\"A\" is already in use");
        assert_eq!(accepted(&second, &[&first, &second]), None);
        let freed = accepted(&second, &[&second]).unwrap();
        assert!(is_established(&freed));
    }
}
