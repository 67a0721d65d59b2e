//! RBAC over the default objects and a few of a tenant's.

use serde_json::json;

use super::*;
use crate::{bootstrap::default_objects, lookup::fake::Objects};

pub(super) fn cluster() -> Arc<Objects> {
    let objects = Objects::default();
    for object in default_objects() {
        let resource = match object["kind"].as_str().unwrap() {
            "ClusterRole" => "clusterroles",
            "ClusterRoleBinding" => "clusterrolebindings",
            "Role" => "roles",
            "RoleBinding" => "rolebindings",
            _ => continue,
        };
        objects.put(RBAC, resource, object);
    }
    Arc::new(objects)
}

pub(super) fn authorizer(objects: &Arc<Objects>) -> Authorizer {
    Authorizer::new(Arc::clone(objects) as _)
}

/// `verb [group/]resource[/subresource] [name]`
pub(super) fn want(
    user: &User,
    verb: &str,
    group: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        user: user.clone(),
        verb: verb.into(),
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn bind(objects: &Objects, namespace: &str, name: &str, role: (&str, &str), subject: Value) {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let object = json!({"kind": kind, "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"kind": role.0, "name": role.1}, "subjects": [subject]});
    let resource = if namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
    objects.put(RBAC, resource, object);
}

fn jane() -> User {
    User::new("jane", &[names::AUTHENTICATED])
}

#[test]
fn refusals_read_as_upstreams() {
    let jane = jane();
    let table = [
        (
            want(&jane, "list", "", "pods", "default", ""),
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        ),
        (
            want(&jane, "get", "apps", "deployments/scale", "shop", "web"),
            "deployments.apps \"web\" is forbidden: User \"jane\" cannot get resource \"deployments/scale\" in API group \
             \"apps\" in the namespace \"shop\"",
        ),
        (
            want(&jane, "list", "", "nodes", "", ""),
            "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        ),
        (
            Attributes {
                user: jane.clone(),
                verb: "get".into(),
                path: "/logs".into(),
                ..Attributes::default()
            },
            "forbidden: User \"jane\" cannot get path \"/logs\"",
        ),
    ];
    let authorizer = authorizer(&cluster());
    for (wanted, text) in table {
        let status = authorizer.check(&wanted).unwrap_err();
        assert_eq!(status.message, text);
        assert_eq!(status.reason.code(), 403);
    }
}

#[test]
fn default_rights_of_everyone() {
    let authorizer = authorizer(&cluster());
    let path = |user: User, path: &str| {
        let wanted =
            Attributes { user, verb: "get".into(), path: path.into(), ..Attributes::default() };
        authorizer.authorize(&wanted).is_allowed()
    };
    assert!(path(jane(), "/apis/apps/v1"));
    assert!(path(User::anonymous(), "/version"));
    assert!(!path(User::anonymous(), "/apis"));
    assert!(!path(jane(), "/metrics"));
    let review =
        want(&jane(), "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "");
    assert!(authorizer.authorize(&review).is_allowed());
    let admin = User::new("root", &[names::MASTERS]);
    assert!(authorizer.authorize(&want(&admin, "delete", "", "nodes", "", "a")).is_allowed());
    let info = want(&User::anonymous(), "get", "", "configmaps", "kube-public", "cluster-info");
    assert!(authorizer.authorize(&info).is_allowed());
    let other = want(&User::anonymous(), "get", "", "configmaps", "kube-public", "other");
    assert!(!authorizer.authorize(&other).is_allowed());
}

#[test]
fn a_change_of_roles_or_bindings_counts_at_once() {
    let objects = cluster();
    let authorizer = authorizer(&objects);
    let wanted = want(&jane(), "create", "apps", "deployments", "shop", "");
    assert!(!authorizer.authorize(&wanted).is_allowed());
    bind(
        &objects,
        "shop",
        "devs",
        ("ClusterRole", "edit"),
        json!({"kind": "User", "name": "jane"}),
    );
    let Decision::Allow(reason) = authorizer.authorize(&wanted) else { panic!() };
    assert_eq!(
        reason,
        "RBAC: allowed by RoleBinding \"devs/shop\" of ClusterRole \"edit\" to User \"jane\""
    );
    assert!(
        !authorizer
            .authorize(&want(&jane(), "create", "apps", "deployments", "other", ""))
            .is_allowed()
    );
    objects.put(
        RBAC,
        "clusterroles",
        json!({"metadata": {"name": "crontabs", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
            "rules": [{"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["crontabs"]}]}),
    );
    assert!(
        authorizer
            .authorize(&want(&jane(), "get", "example.com", "crontabs", "shop", "x"))
            .is_allowed()
    );
    objects.remove(RBAC, "rolebindings", "shop", "devs");
    assert!(!authorizer.authorize(&wanted).is_allowed());
}

#[test]
fn a_missing_role_is_named() {
    let objects = cluster();
    bind(
        &objects,
        "",
        "lost",
        ("ClusterRole", "gone"),
        json!({"kind": "Group", "name": "system:authenticated"}),
    );
    let status =
        authorizer(&objects).check(&want(&jane(), "list", "", "pods", "a", "")).unwrap_err();
    assert!(
        status
            .message
            .ends_with(": RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found"),
        "{status}"
    );
}

#[test]
fn rules_match_names_subresources_and_wildcards() {
    let objects = cluster();
    objects.put(
        RBAC,
        "roles",
        json!({"metadata": {"name": "r", "namespace": "shop"}, "rules": [
            {"verbs": ["get", "watch"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"]},
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"]},
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]},
        ]}),
    );
    bind(
        &objects,
        "shop",
        "b",
        ("Role", "r"),
        json!({"kind": "ServiceAccount", "name": "app", "namespace": "shop"}),
    );
    let authorizer = authorizer(&objects);
    let app = User::new("system:serviceaccount:shop:app", &[]);
    let table = [
        ("get", "", "secrets", "one", true),
        ("watch", "", "secrets", "one", true),
        ("get", "", "secrets", "two", false),
        ("list", "", "secrets", "", false),
        ("patch", "apps", "deployments/scale", "web", true),
        ("patch", "apps", "deployments", "web", false),
        ("get", "", "pods/log", "web", true),
        ("get", "", "pods", "web", false),
    ];
    for (verb, group, resource, name, expected) in table {
        let wanted = want(&app, verb, group, resource, "shop", name);
        assert_eq!(
            authorizer.authorize(&wanted).is_allowed(),
            expected,
            "{verb} {resource} {name}"
        );
    }
    let status = authorizer.rules(&app, "shop").status;
    assert_eq!(status["resourceRules"].as_array().unwrap().len(), 3);
    assert_eq!(status["incomplete"], false);
}

#[test]
fn nobody_grants_more_than_they_have() {
    let objects = cluster();
    bind(
        &objects,
        "shop",
        "owner",
        ("ClusterRole", "admin"),
        json!({"kind": "User", "name": "jane"}),
    );
    let authorizer = authorizer(&objects);
    let check = |resource: &str, object: &Value, old: Option<&Value>| {
        authorizer.check_escalation(&jane(), resource, object, old)
    };
    let role =
        |rule: Value| json!({"metadata": {"name": "r", "namespace": "shop"}, "rules": [rule]});
    let held = role(
        json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "secrets"]}),
    );
    assert_eq!(check("roles", &held, None), Ok(()));
    let more = role(json!({"verbs": ["get", "bark"], "apiGroups": [""], "resources": ["pods"]}));
    let status = check("roles", &more, None).unwrap_err();
    assert_eq!(
        status.message,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"bark\"]}"
    );
    // What is there already may stay.
    assert_eq!(check("roles", &more, Some(&more)), Ok(()));
    let elsewhere = json!({"metadata": {"name": "r"}, "rules": held["rules"]});
    assert!(check("clusterroles", &elsewhere, None).is_err());
    let binding = |role: &str| {
        json!({"metadata": {"name": "b", "namespace": "shop"}, "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": "eve"}]})
    };
    assert_eq!(check("rolebindings", &binding("view"), None), Ok(()));
    assert_eq!(
        check("rolebindings", &binding("cluster-admin"), None).unwrap_err().reason.code(),
        403
    );
    assert_eq!(check("rolebindings", &binding("gone"), None).unwrap_err().reason.code(), 404);
    let aggregate =
        json!({"metadata": {"name": "a"}, "aggregationRule": {"clusterRoleSelectors": [{}]}});
    assert!(check("clusterroles", &aggregate, None).is_err());
    let huge: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let huge = role(json!({"verbs": huge, "apiGroups": huge, "resources": huge}));
    assert!(check("roles", &huge, None).is_err());
}
