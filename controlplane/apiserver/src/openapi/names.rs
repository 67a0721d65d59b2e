//! Names of operations and tags, as code generators expect them.

use api::{Kind, Scope};

use super::paths::Operation;

/// `core_v1`, `apps_v1`, `rbacAuthorization_v1`.
#[must_use]
pub fn tag(kind: &Kind) -> String {
    let group = group(kind);
    let mut letters = group.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase()).unwrap_or_default();
    format!("{first}{}_{}", letters.as_str(), kind.version)
}

/// `Core`, `Apps`, `RbacAuthorization`; custom groups keep all their labels.
fn group(kind: &Kind) -> String {
    match kind.group.as_str() {
        "" => "Core".to_owned(),
        group => group.trim_end_matches(".k8s.io").split(['.', '-']).map(capital).collect(),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// `listCoreV1NamespacedPod`, `replaceAppsV1NamespacedDeploymentScale`, `listCoreV1PodForAllNamespaces`.
#[must_use]
pub fn operation_id(operation: &Operation<'_>) -> String {
    let Operation { kind, subresource, action, all_namespaces, .. } = operation;
    let verb = match *action {
        "post" => "create",
        "put" => "replace",
        "get" => "read",
        "deletecollection" => "delete",
        other => other,
    };
    let collection = if *action == "deletecollection" { "Collection" } else { "" };
    let scope = match (kind.scope, all_namespaces) {
        (Scope::Namespaced, false) => "Namespaced",
        (Scope::Namespaced, true) | (Scope::Cluster, _) => "",
    };
    let part = subresource.map(|sub| capital(&sub.name)).unwrap_or_default();
    let end = if *all_namespaces { "ForAllNamespaces" } else { "" };
    let (group, version) = (group(kind), capital(&kind.version));
    format!("{verb}{group}{version}{collection}{scope}{}{part}{end}", kind.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_upstream() {
        let kinds = api::kinds();
        let find = |plural: &str| kinds.iter().find(|kind| kind.plural == plural).unwrap();
        for (plural, sub, action, all_namespaces, expect) in [
            ("pods", "", "list", true, "listCoreV1PodForAllNamespaces"),
            ("pods", "", "post", false, "createCoreV1NamespacedPod"),
            ("pods", "status", "get", false, "readCoreV1NamespacedPodStatus"),
            ("nodes", "", "deletecollection", false, "deleteCoreV1CollectionNode"),
            ("clusterroles", "", "put", false, "replaceRbacAuthorizationV1ClusterRole"),
            ("deployments", "scale", "patch", false, "patchAppsV1NamespacedDeploymentScale"),
        ] {
            let kind = find(plural);
            let subresource = kind.subresource(sub);
            let component = String::new();
            let operation = Operation { kind, subresource, action, all_namespaces, component };
            assert_eq!(operation_id(&operation), expect);
        }
        assert_eq!(tag(find("clusterroles")), "rbacAuthorization_v1");
    }
}
