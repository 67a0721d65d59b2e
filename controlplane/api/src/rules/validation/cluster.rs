//! rbac, certificates, scheduling, coordination, custom resources, storage migration.

use serde_json::Value;

use super::{items, require_text, text};
use crate::rules::names;
use crate::rules::problems::Problems;

/// Priorities above this are the system's own.
const USER_PRIORITY_MAX: i64 = 1_000_000_000;

pub(super) fn validate(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    match kind {
        "Role" | "ClusterRole" => validate_role(kind, new, problems),
        "RoleBinding" | "ClusterRoleBinding" => validate_binding(new, old, problems),
        "CertificateSigningRequest" => validate_request(new, old, problems),
        "PriorityClass" => validate_priority(new, old, problems),
        "StorageVersionMigration" => validate_migration(new, old, problems),
        "RuntimeClass" => {
            require_text(new, "handler", "", problems);
            if let Some(old) = old {
                problems.check_immutable("handler", &new["handler"], &old["handler"]);
            }
        }
        "Lease" => validate_lease(new, problems),
        "CustomResourceDefinition" => validate_definition(new, problems),
        "APIService" => {
            let spec = &new["spec"];
            let expected = format!("{}.{}", text(spec, "version"), text(spec, "group"));
            if text(&new["metadata"], "name") != expected {
                let detail = format!("must be `spec.version+\".\"+spec.group`: {expected:?}");
                problems.invalid("metadata.name", &new["metadata"]["name"], &detail);
            }
        }
        _ => {}
    }
}

fn validate_role(kind: &str, new: &Value, problems: &mut Problems) {
    for (path, rule) in items(new, "rules", "") {
        let empty = |field: &str| rule[field].as_array().is_none_or(Vec::is_empty);
        if empty("verbs") {
            let detail = "verbs must contain at least one value";
            problems.required(&format!("{path}.verbs"), detail);
        }
        if !empty("nonResourceURLs") {
            let at = format!("{path}.nonResourceURLs");
            if kind == "Role" {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                problems.invalid(&at, &rule["nonResourceURLs"], detail);
            }
            if !empty("apiGroups") || !empty("resources") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                problems.invalid(&at, &rule["nonResourceURLs"], detail);
            }
            continue;
        }
        if empty("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            problems.required(&format!("{path}.apiGroups"), detail);
        }
        if empty("resources") {
            let detail = "resource rules must supply at least one resource";
            problems.required(&format!("{path}.resources"), detail);
        }
    }
}

fn validate_binding(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let reference = &new["roleRef"];
    let group = "rbac.authorization.k8s.io";
    problems.check_choice("roleRef.apiGroup", &reference["apiGroup"], &[group]);
    let kinds: &[&str] = match new["kind"].as_str() {
        Some("ClusterRoleBinding") => &["ClusterRole"],
        _ => &["ClusterRole", "Role"],
    };
    if !kinds.contains(&text(reference, "kind")) {
        problems.not_supported("roleRef.kind", &reference["kind"], kinds);
    }
    require_text(reference, "name", "roleRef", problems);
    for (path, subject) in items(new, "subjects", "") {
        require_text(subject, "name", &path, problems);
        match text(subject, "kind") {
            "ServiceAccount" => {
                let cluster_wide = new["kind"] == "ClusterRoleBinding";
                if text(subject, "namespace").is_empty() && cluster_wide {
                    problems.required(&format!("{path}.namespace"), "");
                }
            }
            "User" | "Group" => {}
            _ => {
                let kinds = ["ServiceAccount", "User", "Group"];
                problems.not_supported(&format!("{path}.kind"), &subject["kind"], &kinds);
            }
        }
    }
    if let Some(old) = old
        && old["roleRef"] != *reference
    {
        problems.invalid("roleRef", reference, "cannot change roleRef");
    }
}

fn validate_request(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let spec = &new["spec"];
    if text(spec, "request").is_empty() {
        problems.required("spec.request", "");
    }
    if spec["usages"].as_array().is_none_or(Vec::is_empty) {
        problems.required("spec.usages", "");
    }
    let signer = text(spec, "signerName");
    if signer.is_empty() {
        problems.required("spec.signerName", "");
    } else if signer
        .split_once('/')
        .is_none_or(|(domain, path)| !domain.contains('.') || path.is_empty())
    {
        let detail =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        problems.invalid_text("spec.signerName", signer, detail);
    }
    let seconds = &spec["expirationSeconds"];
    if seconds.as_i64().is_some_and(|seconds| seconds < 600) {
        problems.invalid(
            "spec.expirationSeconds",
            seconds,
            "may not specify a duration less than 600 seconds (10 minutes)",
        );
    }
    if let Some(old) = old {
        problems.check_immutable("spec", spec, &old["spec"]);
    }
}

fn validate_priority(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let is_system = text(&new["metadata"], "name").starts_with("system-");
    let value = &new["value"];
    if !is_system && value.as_i64().unwrap_or(0) > USER_PRIORITY_MAX {
        let detail =
            format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}");
        problems.forbidden("value", &detail);
    }
    let policies = ["Never", "PreemptLowerPriority"];
    problems.check_choice("preemptionPolicy", &new["preemptionPolicy"], &policies);
    let Some(old) = old else { return };
    for field in ["value", "preemptionPolicy"] {
        if new[field] != old[field] {
            problems.forbidden(field, "may not be changed in an update.");
        }
    }
}

fn validate_migration(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let spec = &new["spec"];
    let (group, resource) = (text(&spec["resource"], "group"), text(&spec["resource"], "resource"));
    let path = "spec.resource.resource";
    if resource.is_empty() {
        problems.required(path, "resource is required to be set");
    } else {
        problems.check_text(path, resource, names::dns1035_label(resource));
    }
    if !group.is_empty() {
        problems.check_text("spec.resource.group", group, names::dns1123_subdomain(group));
    }
    if let Some(old) = old {
        problems.check_immutable("spec", spec, &old["spec"]);
    }
}

fn validate_lease(new: &Value, problems: &mut Problems) {
    let seconds = &new["spec"]["leaseDurationSeconds"];
    if seconds.as_i64().is_some_and(|seconds| seconds <= 0) {
        problems.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0");
    }
    problems.check_not_negative("spec.leaseTransitions", &new["spec"]["leaseTransitions"]);
}

fn validate_definition(new: &Value, problems: &mut Problems) {
    let spec = &new["spec"];
    require_text(spec, "group", "spec", problems);
    let names = &spec["names"];
    for field in ["plural", "kind"] {
        require_text(names, field, "spec.names", problems);
    }
    let expected = format!("{}.{}", text(names, "plural"), text(spec, "group"));
    if text(&new["metadata"], "name") != expected {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        problems.invalid("metadata.name", &new["metadata"]["name"], detail);
    }
    if !matches!(text(spec, "scope"), "Cluster" | "Namespaced") {
        problems.not_supported("spec.scope", &spec["scope"], &["Cluster", "Namespaced"]);
    }
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    if versions.iter().filter(|one| one["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        problems.invalid("spec.versions", &spec["versions"], detail);
    }
    for (path, version) in items(spec, "versions", "spec") {
        require_text(version, "name", &path, problems);
        if version["schema"].get("openAPIV3Schema").is_none() {
            let at = format!("{path}.schema.openAPIV3Schema");
            problems.required(&at, "schemas are required");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::rules::tests::{defaulted, kind, problems};
    use crate::rules::validate;

    #[test]
    fn migrations_are_checked() {
        let migration = |resource: &str| json!({"metadata": {"name": "m"}, "spec": {"resource": {"group": "apps", "resource": resource}}});
        let old = migration("deployments");
        for (object, old, expected) in [
            (old.clone(), None, ""),
            (
                migration(""),
                None,
                "spec.resource.resource: Required value: resource is required to be set",
            ),
            (
                migration("daemonsets"),
                Some(&old),
                "spec: Invalid value: {\"resource\":{\"group\":\"apps\",\"resource\":\"daemonsets\"}}: field is immutable",
            ),
        ] {
            assert_eq!(problems("StorageVersionMigration", &object, old), expected);
        }
    }

    #[test]
    fn bindings_keep_their_role() {
        let old = defaulted(
            "RoleBinding",
            json!({"metadata": {"name": "x", "namespace": "d"}, "roleRef": {"kind": "Role", "name": "a"}}),
        );
        assert_eq!(validate(&kind("RoleBinding"), &old, None), []);
        let mut new = old.clone();
        new["roleRef"]["name"] = json!("b");
        let causes = validate(&kind("RoleBinding"), &new, Some(&old));
        assert!(causes[0].message.ends_with("cannot change roleRef"));
        let role = json!({"metadata": {"name": "x", "namespace": "d"}, "rules": [{"verbs": ["get"], "resources": ["pods"]}]});
        let causes = validate(&kind("Role"), &role, None);
        assert_eq!(causes[0].field, "rules[0].apiGroups");
    }

    #[test]
    fn definitions_are_checked() {
        let object = json!({"metadata": {"name": "foos.e.com"}, "spec": {"group": "e.com", "scope": "Cluster",
            "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        let name = "CustomResourceDefinition";
        assert_eq!(validate(&kind(name), &defaulted(name, object), None), []);
    }
}
