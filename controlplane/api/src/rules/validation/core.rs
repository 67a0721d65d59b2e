//! The core group's other kinds.

use serde_json::{Value, json};

use super::{items, resources, text};
use crate::rules::names;
use crate::rules::problems::Problems;

/// Data of a secret or config map, in bytes.
const DATA_BYTES_MAX: usize = 1024 * 1024;
const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

pub(super) fn validate(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    match kind {
        "ConfigMap" => validate_config_map(new, old, problems),
        "Secret" => validate_secret(new, old, problems),
        "PersistentVolumeClaim" => validate_claim(new, old, problems),
        "PersistentVolume" => validate_volume(new, problems),
        "ResourceQuota" => {
            for (name, amount) in new["spec"]["hard"].as_object().into_iter().flatten() {
                resources::check_amount(amount, &format!("spec.hard[{name}]"), false, problems);
            }
        }
        "Binding" if text(&new["target"], "name").is_empty() => {
            problems.required("target.name", "");
        }
        "Node" => validate_node(new, old, problems),
        "Event" => {}
        _ => {}
    }
}

fn check_keys(object: &Value, field: &str, problems: &mut Problems) -> usize {
    let mut bytes = 0;
    for (key, value) in object[field].as_object().into_iter().flatten() {
        problems.check_text(&format!("{field}[{key}]"), key, names::config_key(key));
        bytes += value.as_str().map_or(0, str::len);
    }
    bytes
}

fn check_frozen(new: &Value, old: &Value, fields: &[&str], problems: &mut Problems) {
    if old["immutable"] != true {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        problems.forbidden("immutable", detail);
    }
    for field in fields {
        if new[*field] != old[*field] {
            problems.forbidden(field, detail);
        }
    }
}

fn validate_config_map(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    // Binary data is base64: four characters for three bytes.
    let bytes = check_keys(new, "data", problems) + check_keys(new, "binaryData", problems) / 4 * 3;
    for (key, _) in new["data"].as_object().into_iter().flatten() {
        if new["binaryData"].get(key).is_some() {
            let detail = format!("duplicate of key present in binaryData: {key}");
            problems.invalid(&format!("data[{key}]"), &json!(key), &detail);
        }
    }
    if bytes > DATA_BYTES_MAX {
        problems.too_long("", DATA_BYTES_MAX);
    }
    if let Some(old) = old {
        check_frozen(new, old, &["data", "binaryData"], problems);
    }
}

fn validate_secret(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let bytes = check_keys(new, "data", problems) / 4 * 3;
    if bytes > DATA_BYTES_MAX {
        problems.too_long("data", DATA_BYTES_MAX);
    }
    let data = &new["data"];
    match text(new, "type") {
        TOKEN_TYPE if text(&new["metadata"]["annotations"], ACCOUNT_ANNOTATION).is_empty() => {
            problems.required(&format!("metadata.annotations[{ACCOUNT_ANNOTATION}]"), "");
        }
        "kubernetes.io/tls" => require_keys(data, &["tls.crt", "tls.key"], problems),
        "kubernetes.io/dockerconfigjson" => require_keys(data, &[".dockerconfigjson"], problems),
        "kubernetes.io/dockercfg" => require_keys(data, &[".dockercfg"], problems),
        "kubernetes.io/ssh-auth" => require_keys(data, &["ssh-privatekey"], problems),
        "kubernetes.io/basic-auth"
            if data.get("username").is_none() && data.get("password").is_none() =>
        {
            require_keys(data, &["username", "password"], problems);
        }
        _ => {}
    }
    if let Some(old) = old {
        problems.check_immutable("type", &new["type"], &old["type"]);
        check_frozen(new, old, &["data"], problems);
    }
}

fn require_keys(data: &Value, keys: &[&str], problems: &mut Problems) {
    for key in keys.iter().filter(|key| data.get(**key).is_none()) {
        problems.required(&format!("data[{key}]"), "");
    }
}

fn validate_claim(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let spec = &new["spec"];
    check_claim_spec(spec, "spec", problems);
    let Some(old) = old.map(|old| &old["spec"]) else { return };
    let fixed = |spec: &Value| {
        let mut map = spec.as_object().cloned().unwrap_or_default();
        for field in ["resources", "volumeAttributesClassName"] {
            map.remove(field);
        }
        // The binder fills in the volume, the default class comes late.
        if text(old, "volumeName").is_empty() {
            map.remove("volumeName");
        }
        if old.get("storageClassName").is_none() {
            map.remove("storageClassName");
        }
        map
    };
    if fixed(spec) != fixed(old) {
        let detail = "spec is immutable after creation except resources.requests and \
            volumeAttributesClassName for bound claims";
        problems.forbidden("spec", detail);
    }
    let size = |spec: &Value| resources::parse(&spec["resources"]["requests"]["storage"]);
    if let (Some(new_size), Some(old_size)) = (size(spec), size(old))
        && new_size < old_size
    {
        let detail = "field can not be less than status.capacity";
        problems.forbidden("spec.resources.requests.storage", detail);
    }
}

fn check_claim_spec(spec: &Value, path: &str, problems: &mut Problems) {
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        let detail = "at least 1 access mode is required";
        problems.required(&format!("{path}.accessModes"), detail);
    }
    check_modes(spec, path, problems);
    let storage = &spec["resources"]["requests"]["storage"];
    let at = format!("{path}.resources[storage]");
    match resources::parse(storage) {
        _ if storage.is_null() => problems.required(&at, ""),
        Some(amount) if amount.is_zero() || amount.is_negative() => {
            problems.invalid(&at, storage, "must be greater than zero");
        }
        _ => {}
    }
}

fn check_modes(spec: &Value, path: &str, problems: &mut Problems) {
    let modes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for (_, mode) in items(spec, "accessModes", path) {
        problems.check_choice(&format!("{path}.accessModes"), mode, &modes);
    }
    problems.check_choice(
        &format!("{path}.volumeMode"),
        &spec["volumeMode"],
        &["Block", "Filesystem"],
    );
}

/// Fields of a persistent volume's spec that are no source.
const VOLUME_SETTINGS: [&str; 9] = [
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

fn validate_volume(new: &Value, problems: &mut Problems) {
    let spec = &new["spec"];
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        problems.required("spec.accessModes", "");
    }
    check_modes(spec, "spec", problems);
    if spec["capacity"].as_object().is_none_or(serde_json::Map::is_empty) {
        problems.required("spec.capacity", "");
    }
    let policies = ["Delete", "Recycle", "Retain"];
    let path = "spec.persistentVolumeReclaimPolicy";
    problems.check_choice(path, &spec["persistentVolumeReclaimPolicy"], &policies);
    let sources = spec
        .as_object()
        .map_or(0, |map| map.keys().filter(|key| !VOLUME_SETTINGS.contains(&key.as_str())).count());
    if sources == 0 {
        problems.required("spec", "must specify a volume type");
    }
}

fn validate_node(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    for (path, taint) in items(&new["spec"], "taints", "spec") {
        let key = text(taint, "key");
        problems.check_text(&format!("{path}.key"), key, names::label_key(key));
        let effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
        problems.check_choice(&format!("{path}.effect"), &taint["effect"], &effects);
    }
    let Some(old) = old else { return };
    for (field, detail) in [
        ("podCIDR", "node updates may not change podCIDR except from \"\" to valid"),
        ("providerID", "node updates may not change providerID except from \"\" to valid"),
    ] {
        let before = text(&old["spec"], field);
        if !before.is_empty() && text(&new["spec"], field) != before {
            problems.forbidden(&format!("spec.{field}"), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{defaulted, kind};
    use crate::rules::validate;

    fn check(name: &str, mut object: Value, expected: &[&str]) {
        object["metadata"] = json!({"name": "x", "namespace": "d"});
        let causes = validate(&kind(name), &defaulted(name, object), None);
        let found: Vec<String> = causes.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn core_kinds_are_checked() {
        check(
            "Secret",
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            &["data[tls.key]: Required value"],
        );
        check(
            "PersistentVolumeClaim",
            json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}}),
            &["spec.accessModes: Required value: at least 1 access mode is required"],
        );
        check("ConfigMap", json!({"data": {"a": "b"}}), &[]);
    }

    #[test]
    fn immutable_config_maps_stay() {
        let old = json!({"metadata": {"name": "x", "namespace": "d"}, "data": {"a": "b"}, "immutable": true});
        let mut new = old.clone();
        new["data"]["a"] = json!("c");
        let causes = validate(&kind("ConfigMap"), &new, Some(&old));
        assert_eq!(causes[0].field, "data");
        assert_eq!(causes[0].message, "Forbidden: field is immutable when `immutable` is set");
    }
}
