//! Admission over the wire: quotas, limits, pod security, webhooks on a real TLS server, policies in CEL.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "admission/built_in.rs"]
mod built_in;
mod common;
#[path = "admission/hook.rs"]
mod hook;
#[path = "common/parts.rs"]
mod parts;
#[path = "admission/policies.rs"]
mod policies;
#[path = "admission/quota.rs"]
mod quota;
#[path = "admission/webhooks.rs"]
mod webhooks;

use common::Cluster;
use serde_json::{Value, json};

const CONFIGS: &str = "/apis/admissionregistration.k8s.io/v1";

/// A ConfigMap.
fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn pod(name: &str, container: Value) -> Value {
    let mut container = container;
    container["name"] = json!("c");
    container["image"] = json!("i");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [container], "automountServiceAccountToken": false}})
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

/// Makes a namespace with labels and its `default` account, and returns the path of what is in it.
async fn namespace(cluster: &Cluster, name: &str, labels: Value) -> String {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let (code, made) = cluster.post("/api/v1/namespaces", &body).await;
    assert_eq!(code, 201, "{made}");
    let path = format!("/api/v1/namespaces/{name}");
    account(cluster, &path).await;
    path
}

/// Without controllers nobody else makes the account that pods run as.
async fn account(cluster: &Cluster, path: &str) {
    let body =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post(&format!("{path}/serviceaccounts"), &body).await;
}

/// POSTs what must be accepted.
async fn make(cluster: &Cluster, path: &str, body: &Value) -> Value {
    let (code, made) = cluster.post(path, body).await;
    assert_eq!(code, 201, "{made}");
    made
}

/// POSTs what must be refused: code and message.
async fn refused(cluster: &Cluster, path: &str, body: &Value) -> (u16, String) {
    let (code, answer) = cluster.post(path, body).await;
    assert!(code >= 400, "{answer}");
    (code, answer["message"].as_str().unwrap_or_default().to_owned())
}

async fn merge(cluster: &Cluster, path: &str, patch: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/merge-patch+json")];
    let (code, _, answer) = cluster.json("PATCH", path, &headers, patch).await;
    (code, answer)
}

async fn delete(cluster: &Cluster, path: &str) -> (u16, Value) {
    let (code, _, answer) = cluster.json("DELETE", path, &[], &Value::Null).await;
    (code, answer)
}
