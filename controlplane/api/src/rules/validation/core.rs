//! The core group's other kinds.

use serde_json::{Value, json};

use super::{items, status, text};
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
        "ResourceQuota" => {
            status::check_quota_amounts(&new["spec"]["hard"], "spec.hard", problems);
        }
        "Binding" if text(&new["target"], "name").is_empty() => {
            problems.required("target.name", "");
        }
        "Node" => {
            validate_node(new, old, problems);
            // A node is registered with its status.
            if old.is_none() {
                status::check_node(&new["status"], problems);
            }
        }
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
