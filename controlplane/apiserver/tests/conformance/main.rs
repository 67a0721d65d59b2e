//! What the conformance tests that need no container ask of an API server, beyond the plain operations of each kind
//! (those are in `operations`). `docs/conformance.md` says which row of the list each test stands for.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod access;
mod chunks;
#[path = "../common/mod.rs"]
mod common;
mod compression;
mod discovery;
mod pods;
mod protobuf;
mod watches;
mod writes;

use common::Cluster;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

fn map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"l": label}}, "data": {"k": "v"}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

/// A server whose default namespace takes pods.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    cluster
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
