//! `metadata` of every kind, upstream `apimachinery/pkg/api/validation/objectmeta.go`.

use serde_json::Value;

use crate::rules::ip;
use crate::rules::names;
use crate::rules::problems::Problems;
use crate::{Kind, Scope};

/// Keys and values of all annotations together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const UPDATE_IMMUTABLE: [&str; 4] = ["uid", "creationTimestamp", "name", "namespace"];

pub(super) fn validate(kind: &Kind, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let metadata = &new["metadata"];
    check_name(kind, metadata, problems);
    check_namespace(kind, metadata, problems);
    labels(&metadata["labels"], "metadata.labels", problems);
    annotations(&metadata["annotations"], problems);
    check_owners(&metadata["ownerReferences"], problems);
    check_finalizers(&metadata["finalizers"], problems);
    if let Some(old) = old {
        for field in UPDATE_IMMUTABLE {
            let path = format!("metadata.{field}");
            problems.check_immutable(&path, &metadata[field], &old["metadata"][field]);
        }
    }
}

fn check_name(kind: &Kind, metadata: &Value, problems: &mut Problems) {
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    let (name, prefix) = (text("name"), text("generateName"));
    if name.is_empty() && prefix.is_empty() {
        problems.required("metadata.name", "name or generateName is required");
        return;
    }
    let check = name_check(kind);
    if !prefix.is_empty() {
        // The server appends to the prefix, so it may end as a name may not.
        let masked = match prefix.strip_suffix('-') {
            Some(rest) if !rest.is_empty() => format!("{rest}a"),
            _ => prefix.to_owned(),
        };
        problems.check_text("metadata.generateName", prefix, check(&masked));
    }
    if !name.is_empty() {
        problems.check_text("metadata.name", name, check(name));
    }
}

fn name_check(kind: &Kind) -> fn(&str) -> Option<String> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => names::dns1123_label,
        ("", "Service") => names::dns1123_label,
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        ("networking.k8s.io", "IPAddress") => ip::address,
        ("authorization.k8s.io" | "authentication.k8s.io", _) => |_| None,
        _ => names::dns1123_subdomain,
    }
}

fn check_namespace(kind: &Kind, metadata: &Value, problems: &mut Problems) {
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    match kind.scope {
        Scope::Cluster if !namespace.is_empty() => {
            problems.forbidden("metadata.namespace", "not allowed on this type");
        }
        Scope::Namespaced if namespace.is_empty() => problems.required("metadata.namespace", ""),
        Scope::Namespaced => {
            problems.check_text("metadata.namespace", namespace, names::dns1123_label(namespace));
        }
        Scope::Cluster => {}
    }
}

/// Keys and values of a map of labels.
pub(super) fn labels(map: &Value, path: &str, problems: &mut Problems) {
    for (key, value) in map.as_object().into_iter().flatten() {
        problems.check_text(path, key, names::label_key(key));
        let value = value.as_str().unwrap_or_default();
        problems.check_text(path, value, names::label_value(value));
    }
}

fn annotations(map: &Value, problems: &mut Problems) {
    let mut bytes = 0;
    for (key, value) in map.as_object().into_iter().flatten() {
        problems.check_text("metadata.annotations", key, names::label_key(&key.to_lowercase()));
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        problems.too_long("metadata.annotations", ANNOTATIONS_BYTES_MAX);
    }
}

fn check_owners(owners: &Value, problems: &mut Problems) {
    let mut controllers: Vec<&str> = Vec::new();
    for (index, owner) in owners.as_array().into_iter().flatten().enumerate() {
        let path = format!("metadata.ownerReferences[{index}]");
        for field in ["apiVersion", "kind", "name", "uid"] {
            let text = owner[field].as_str().unwrap_or_default();
            if text.is_empty() {
                let detail = match field {
                    "apiVersion" => "version must not be empty",
                    _ => "must not be empty",
                };
                problems.invalid_text(&format!("{path}.{field}"), text, detail);
            }
        }
        if owner["controller"] == true {
            controllers.push(owner["name"].as_str().unwrap_or_default());
        }
    }
    if controllers.len() > 1 {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
            controllers[0], controllers[1]
        );
        problems.invalid("metadata.ownerReferences", owners, &detail);
    }
}

fn check_finalizers(finalizers: &Value, problems: &mut Problems) {
    for finalizer in finalizers.as_array().into_iter().flatten().filter_map(Value::as_str) {
        problems.check_text("metadata.finalizers", finalizer, names::label_key(finalizer));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::rules::{tests::kind, validate};

    #[test]
    fn metadata_problems() {
        for (name, metadata, field, message) in [
            (
                "ConfigMap",
                json!({"namespace": "d"}),
                "metadata.name",
                "Required value: name or generateName is required",
            ),
            (
                "ConfigMap",
                json!({"name": "A", "namespace": "d"}),
                "metadata.name",
                "Invalid value: \"A\": a lowercase RFC 1123 subdomain",
            ),
            ("ConfigMap", json!({"name": "a"}), "metadata.namespace", "Required value"),
            ("ClusterRole", json!({"name": "a/b"}), "metadata.name", "may not contain '/'"),
            (
                "ConfigMap",
                json!({"name": "a", "namespace": "d", "labels": {"x": "a b"}}),
                "metadata.labels",
                "Invalid value: \"a b\": a valid label must",
            ),
            ("Namespace", json!({"name": "a.b"}), "metadata.name", "must not contain dots"),
        ] {
            let causes = validate(&kind(name), &json!({"metadata": metadata}), None);
            let found = causes.iter().find(|cause| cause.field == field).expect(field);
            assert!(found.message.contains(message), "{}", found.message);
        }
        let fine = json!({"metadata": {"generateName": "a-", "namespace": "d"}});
        assert_eq!(validate(&kind("ConfigMap"), &fine, None), []);
    }
}
