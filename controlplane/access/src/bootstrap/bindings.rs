//! Default bindings: who has the default roles.

use serde_json::{Value, json};

use super::managed;
use crate::names;

#[derive(Clone, Copy)]
enum Subject {
    User(&'static str),
    Group(&'static str),
    ServiceAccount(&'static str, &'static str),
}
use Subject::{Group, ServiceAccount, User};

/// Binding, ClusterRole, subjects.
const CLUSTER_WIDE: &[(&str, &str, &[Subject])] = &[
    ("cluster-admin", "cluster-admin", &[Group(names::MASTERS)]),
    ("system:monitoring", "system:monitoring", &[Group("system:monitoring")]),
    ("system:discovery", "system:discovery", &[Group(names::AUTHENTICATED)]),
    ("system:basic-user", "system:basic-user", &[Group(names::AUTHENTICATED)]),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &[Group(names::AUTHENTICATED), Group(names::UNAUTHENTICATED)],
    ),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &[Group(names::SERVICE_ACCOUNTS)],
    ),
    (
        "system:cluster-trust-bundle-discovery",
        "system:cluster-trust-bundle-discovery",
        &[Group(names::SERVICE_ACCOUNTS)],
    ),
    ("system:node", "system:node", &[]),
    ("system:node-proxier", "system:node-proxier", &[User("system:kube-proxy")]),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        &[User("system:kube-controller-manager")],
    ),
    ("system:kube-scheduler", "system:kube-scheduler", &[User("system:kube-scheduler")]),
    ("system:volume-scheduler", "system:volume-scheduler", &[User("system:kube-scheduler")]),
    ("system:kube-dns", "system:kube-dns", &[ServiceAccount("kube-system", "kube-dns")]),
    ("kubeadm:get-nodes", "kubeadm:get-nodes", &[Group(names::NODE_TOKEN_BOOTSTRAPPERS)]),
    (
        "kubeadm:kubelet-bootstrap",
        "system:node-bootstrapper",
        &[Group(names::NODE_TOKEN_BOOTSTRAPPERS)],
    ),
    (
        "kubeadm:node-autoapprove-bootstrap",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[Group(names::NODE_TOKEN_BOOTSTRAPPERS)],
    ),
    (
        "kubeadm:node-autoapprove-certificate-rotation",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[Group(names::NODES)],
    ),
    (
        "bulkhead:node-autoapprove-serving",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeserver",
        &[Group(names::NODES)],
    ),
];

/// Namespace, binding, Role, subjects.
const NAMESPACED: &[(&str, &str, &str, &[Subject])] = &[
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[User("system:kube-controller-manager"), User("system:kube-scheduler")],
    ),
    (
        "kube-public",
        "kubeadm:bootstrap-signer-clusterinfo",
        "kubeadm:bootstrap-signer-clusterinfo",
        &[User(names::ANONYMOUS)],
    ),
];

fn subject(subject: Subject) -> Value {
    let group = "rbac.authorization.k8s.io";
    match subject {
        User(name) => json!({"kind": "User", "apiGroup": group, "name": name}),
        Group(name) => json!({"kind": "Group", "apiGroup": group, "name": name}),
        ServiceAccount(namespace, name) => {
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
    }
}

fn binding(kind: &str, role_kind: &str, name: &str, role: &str, subjects: &[Subject]) -> Value {
    let subjects: Vec<Value> = subjects.iter().copied().map(subject).collect();
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": managed(name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
        "subjects": subjects})
}

pub(super) fn cluster_role_bindings() -> Vec<Value> {
    let rows = CLUSTER_WIDE.iter();
    rows.map(|(name, role, subjects)| {
        binding("ClusterRoleBinding", "ClusterRole", name, role, subjects)
    })
    .collect()
}

pub(super) fn role_bindings() -> Vec<Value> {
    let rows = NAMESPACED.iter();
    rows.map(|(namespace, name, role, subjects)| {
        let mut binding = binding("RoleBinding", "Role", name, role, subjects);
        binding["metadata"]["namespace"] = json!(namespace);
        binding
    })
    .collect()
}
