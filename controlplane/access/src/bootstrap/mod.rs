//! The objects that a new cluster starts with.

mod bindings;
mod roles;
mod token;

use serde_json::{Value, json};
pub use token::bootstrap_token;

/// Everything that must exist, in an order that can be created one by one. Create what is missing; leave the rest.
#[must_use]
pub fn default_objects() -> Vec<Value> {
    let mut objects: Vec<Value> =
        ["default", "kube-system", "kube-public", "kube-node-lease"].map(namespace).into();
    objects.push(priority_class(
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ));
    objects.push(priority_class(
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ));
    objects.extend(roles::cluster_roles());
    objects.extend(bindings::cluster_role_bindings());
    objects.extend(roles::roles());
    objects.extend(bindings::role_bindings());
    objects
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]}})
}

fn priority_class(name: &str, value: i64, description: &str) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
        "value": value, "globalDefault": false, "description": description,
        "preemptionPolicy": "PreemptLowerPriority"})
}

/// Metadata of roles and bindings that every start may repair, as upstream marks them.
fn managed(name: &str) -> Value {
    json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}})
}

/// `kube-public/cluster-info`: where a joining node finds the server and its CA.
#[must_use]
pub fn cluster_info(server_url: &str, ca_pem: &str) -> Value {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let server = json!(server_url);
    let ca = BASE64_STANDARD.encode(ca_pem);
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: \"\"\n  cluster:\n    certificate-authority-data: {ca}\n    \
         server: {server}\ncontexts: null\ncurrent-context: \"\"\nusers: null\n"
    );
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"}, "data": {"kubeconfig": kubeconfig}})
}

/// `kube-system/extension-apiserver-authentication`: how aggregated servers know requests that we pass on.
#[must_use]
pub fn extension_authentication(pki: &crate::pki::Pki) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
    "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
    "data": {
        "client-ca-file": pki.ca_pem(),
        "requestheader-allowed-names": json!([crate::pki::FRONT_PROXY]).to_string(),
        "requestheader-client-ca-file": pki.front_proxy_ca_pem(),
        "requestheader-extra-headers-prefix": json!(["X-Remote-Extra-"]).to_string(),
        "requestheader-group-headers": json!(["X-Remote-Group"]).to_string(),
        "requestheader-uid-headers": json!(["X-Remote-Uid"]).to_string(),
        "requestheader-username-headers": json!(["X-Remote-User"]).to_string(),
    }})
}

#[cfg(test)]
mod tests;
