//! A kubelet sees what its pods need, and writes about itself alone.

use serde_json::json;

use super::{
    tests::{authorizer, cluster, want},
    *,
};
use crate::lookup::fake::Objects;

fn node(name: &str) -> User {
    User::new(format!("system:node:{name}"), &[names::NODES, names::AUTHENTICATED])
}

fn rack() -> Arc<Objects> {
    let objects = cluster();
    objects.put(
        "",
        "pods",
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}, "spec": {
        "nodeName": "a", "serviceAccountName": "app",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}],
            "envFrom": [{"configMapRef": {"name": "settings"}}]}],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "init"}}]}],
        "volumes": [
            {"name": "v", "secret": {"secretName": "volume"}},
            {"name": "p", "projected": {"sources": [{"secret": {"name": "projected"}},
                {"configMap": {"name": "kube-root-ca.crt"}}]}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "scratch", "ephemeral": {}},
        ]}}),
    );
    objects.put(
        "",
        "persistentvolumeclaims",
        json!({"metadata": {"name": "data", "namespace": "shop"}, "spec": {"volumeName": "pv1"}}),
    );
    objects.put(
        "",
        "persistentvolumes",
        json!({"metadata": {"name": "pv1"},
            "spec": {"csi": {"nodeStageSecretRef": {"name": "disk", "namespace": "storage"}}}}),
    );
    // A mirror pod is the node's own claim.
    objects.put(
        "",
        "pods",
        json!({"metadata": {"name": "fake", "namespace": "shop", "annotations": {"kubernetes.io/config.mirror": "x"}},
            "spec": {"nodeName": "a", "volumes": [{"secret": {"secretName": "stolen"}}]}}),
    );
    objects
}

#[test]
fn a_node_reads_what_its_pods_refer_to() {
    let objects = rack();
    let authorizer = authorizer(&objects);
    let table = [
        ("get", "secrets", "shop", "pull", true),
        ("get", "secrets", "shop", "env", true),
        ("watch", "secrets", "shop", "init", true),
        ("list", "secrets", "shop", "volume", true),
        ("get", "secrets", "shop", "projected", true),
        ("get", "secrets", "storage", "disk", true),
        ("get", "secrets", "shop", "stolen", false),
        ("get", "secrets", "other", "pull", false),
        ("list", "secrets", "shop", "", false),
        ("list", "secrets", "", "", false),
        ("update", "secrets", "shop", "pull", false),
        ("get", "configmaps", "shop", "settings", true),
        ("get", "configmaps", "shop", "kube-root-ca.crt", true),
        ("get", "configmaps", "shop", "other", false),
        ("get", "persistentvolumeclaims", "shop", "data", true),
        ("get", "persistentvolumeclaims", "shop", "web-scratch", true),
        ("get", "persistentvolumes", "", "pv1", true),
        ("get", "persistentvolumes", "", "pv2", false),
        ("create", "serviceaccounts/token", "shop", "app", true),
        ("create", "serviceaccounts/token", "shop", "admin", false),
    ];
    for (verb, resource, namespace, name, expected) in table {
        let by = |node_name| {
            authorizer
                .authorize(&want(&node(node_name), verb, "", resource, namespace, name))
                .is_allowed()
        };
        assert_eq!(by("a"), expected, "{verb} {resource} {namespace}/{name}");
        assert!(!by("b"), "{verb} {resource} {namespace}/{name}");
    }
    objects.remove("", "pods", "shop", "web");
    assert!(
        !authorizer.authorize(&want(&node("a"), "get", "", "secrets", "shop", "pull")).is_allowed()
    );
    let status =
        authorizer.check(&want(&node("a"), "get", "", "secrets", "shop", "pull")).unwrap_err();
    assert!(
        status.message.ends_with(": no relationship found between node 'a' and this object"),
        "{status}"
    );
}

#[test]
fn a_node_writes_about_itself() {
    let authorizer = authorizer(&rack());
    let table = [
        ("create", "", "nodes", "", "", true),
        ("patch", "", "nodes/status", "", "a", true),
        ("patch", "", "nodes/status", "", "b", false),
        ("delete", "", "nodes", "", "b", false),
        ("update", "coordination.k8s.io", "leases", "kube-node-lease", "a", true),
        ("update", "coordination.k8s.io", "leases", "kube-node-lease", "b", false),
        ("update", "coordination.k8s.io", "leases", "kube-system", "a", false),
        ("patch", "", "pods/status", "shop", "web", true),
        ("update", "", "pods", "shop", "web", false),
        ("create", "", "events", "shop", "", true),
        ("list", "discovery.k8s.io", "endpointslices", "", "", true),
        ("create", "certificates.k8s.io", "certificatesigningrequests", "", "", true),
        (
            "create",
            "certificates.k8s.io",
            "certificatesigningrequests/selfnodeclient",
            "",
            "",
            true,
        ),
        ("list", "rbac.authorization.k8s.io", "roles", "", "", false),
    ];
    for (verb, group, resource, namespace, name, expected) in table {
        let wanted = want(&node("a"), verb, group, resource, namespace, name);
        assert_eq!(
            authorizer.authorize(&wanted).is_allowed(),
            expected,
            "{verb} {resource} {name}"
        );
    }
}

#[test]
fn a_node_lists_its_own_pods_only() {
    let authorizer = authorizer(&rack());
    let list = |verb: &str, fields: &[(&str, &str)]| {
        let wanted = want(&node("a"), verb, "", "pods", "", "");
        let fields = fields.iter().map(|(f, v)| ((*f).to_owned(), (*v).to_owned())).collect();
        authorizer.authorize(&Attributes { fields, ..wanted }).is_allowed()
    };
    assert!(list("list", &[("spec.nodeName", "a")]) && list("watch", &[("spec.nodeName", "a")]));
    assert!(!list("list", &[]) && !list("watch", &[("spec.nodeName", "b")]));
    let get = |by: &str, name: &str| {
        authorizer.authorize(&want(&node(by), "get", "", "pods", "shop", name)).is_allowed()
    };
    assert!(get("a", "web") && !get("b", "web") && !get("a", "gone"));
}

#[test]
fn admission_looks_at_the_object() {
    let authorizer = authorizer(&rack());
    let write = |verb: &str,
                 resource: &str,
                 namespace: &str,
                 name: &str,
                 object: Value,
                 old: Option<Value>| {
        let wanted = want(&node("a"), verb, "", resource, namespace, name);
        authorizer
            .check_node_write(&wanted, Some(&object), old.as_ref())
            .map_err(|status| status.message)
    };
    let own =
        json!({"metadata": {"name": "a", "labels": {"kubernetes.io/hostname": "a", "rack": "7"}}});
    assert_eq!(write("create", "nodes", "", "a", own.clone(), None), Ok(()));
    let other = json!({"metadata": {"name": "b"}});
    assert_eq!(
        write("create", "nodes", "", "", other, None).unwrap_err(),
        "nodes \"b\" is forbidden: node \"a\" is not allowed to modify node \"b\""
    );
    let mut tainted = own.clone();
    tainted["spec"] = json!({"taints": [{"key": "x", "effect": "NoSchedule"}]});
    assert_eq!(write("create", "nodes", "", "a", tainted.clone(), None), Ok(()));
    assert!(write("patch", "nodes", "", "a", own.clone(), Some(tainted)).is_err());
    let mut labelled = own.clone();
    labelled["metadata"]["labels"]["node-restriction.kubernetes.io/tenant"] = json!("x");
    assert!(write("patch", "nodes/status", "", "a", labelled, Some(own)).is_err());
    let pod =
        |node: &str| json!({"metadata": {"name": "web", "labels": {}}, "spec": {"nodeName": node}});
    assert_eq!(write("patch", "pods/status", "shop", "web", pod("a"), Some(pod("a"))), Ok(()));
    assert!(write("patch", "pods/status", "shop", "web", pod("b"), Some(pod("b"))).is_err());
    assert!(write("create", "pods", "shop", "x", pod("a"), None).is_err());
    let bound = |uid: &str| json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": uid}}});
    assert_eq!(write("create", "serviceaccounts/token", "shop", "app", bound("u1"), None), Ok(()));
    assert!(write("create", "serviceaccounts/token", "shop", "app", bound("u2"), None).is_err());
    assert!(
        write("create", "serviceaccounts/token", "shop", "app", json!({"spec": {}}), None).is_err()
    );
    let slice = |node: &str| json!({"metadata": {"name": "s"}, "spec": {"nodeName": node}});
    let wanted = want(&node("a"), "create", "resource.k8s.io", "resourceslices", "", "s");
    assert_eq!(authorizer.check_node_write(&wanted, Some(&slice("a")), None), Ok(()));
    assert!(authorizer.check_node_write(&wanted, Some(&slice("b")), None).is_err());
    // Other users are not this plugin's business.
    let jane = want(&User::new("jane", &[]), "create", "", "nodes", "", "b");
    assert_eq!(authorizer.check_node_write(&jane, None, None), Ok(()));
}
