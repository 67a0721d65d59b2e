//! Controllers and the scheduler against a server: what the conformance tests of workloads, garbage, namespaces, services and
//! scheduling ask, with pods that run in name only.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod budgets;
#[path = "../common/mod.rs"]
mod common;
mod crons;
mod daemons;
mod garbage;
mod jobs;
mod migrations;
mod namespaces;
#[path = "../common/parts.rs"]
mod parts;
mod pods;
mod replicas;
mod rollouts;
mod scheduling;
mod services;
mod stateful;
mod taints;

use std::sync::LazyLock;

use common::Cluster;
use serde_json::{Value, json};

const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

/// The server, the controllers and the pods that most tests share, in a thread of their own: each test has its own runtime.
static SHARED: LazyLock<&'static Cluster> = LazyLock::new(|| {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
            let _running = parts::controllers(cluster).await;
            sender.send(cluster).unwrap();
            parts::run_pods(cluster).await;
        });
    });
    receiver.recv().unwrap()
});

/// A namespace that takes pods.
struct Space {
    cluster: &'static Cluster,
    /// `/api/v1/namespaces/<name>`
    core: String,
    /// `/apis/apps/v1/namespaces/<name>`
    apps: String,
    name: String,
}

impl Space {
    async fn new(name: &str) -> Self {
        let cluster = *SHARED;
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        make(cluster, "/api/v1/namespaces", &body).await;
        let space = Self {
            cluster,
            core: format!("/api/v1/namespaces/{name}"),
            apps: format!("/apis/apps/v1/namespaces/{name}"),
            name: name.to_owned(),
        };
        cluster.follow(&space.accounts(), |accounts| accounts.contains_key("default")).await;
        space
    }

    /// Nodes of this test's own.
    async fn nodes(&self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for number in 0..count {
            let name = format!("{}-{number}", self.name);
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"test": self.name}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
            make(self.cluster, "/api/v1/nodes", &node).await;
            names.push(name);
        }
        names
    }

    fn accounts(&self) -> String {
        format!("{}/serviceaccounts", self.core)
    }

    fn pods(&self) -> String {
        format!("{}/pods", self.core)
    }

    fn rcs(&self) -> String {
        format!("{}/replicationcontrollers", self.core)
    }

    async fn make(&self, collection: &str, body: &Value) -> Value {
        make(self.cluster, collection, body).await
    }

    async fn merge(&self, path: &str, patch: &Value) -> Value {
        let (code, _, object) = self.cluster.json("PATCH", path, &[MERGE], patch).await;
        assert_eq!(code, 200, "{object}");
        object
    }

    async fn delete(&self, path: &str, policy: &str) {
        let options = json!({"propagationPolicy": policy});
        let (code, _, answer) = self.cluster.json("DELETE", path, &[], &options).await;
        assert!(code < 300, "{path}: {answer}");
    }

    /// Waits until the objects of a collection are so many.
    async fn count(&self, collection: &str, count: usize) -> common::Objects {
        self.cluster.follow(collection, |all| all.len() == count).await
    }

    /// Waits until one object is as wanted.
    async fn see(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let (collection, name) = path.rsplit_once('/').unwrap();
        let named = format!("{collection}?fieldSelector=metadata.name%3D{name}");
        let mut all = self.cluster.follow(&named, |all| all.get(name).is_some_and(&wanted)).await;
        all.remove(name).unwrap()
    }

    async fn gone(&self, path: &str) {
        let (collection, name) = path.rsplit_once('/').unwrap();
        let named = format!("{collection}?fieldSelector=metadata.name%3D{name}");
        self.count(&named, 0).await;
    }
}

async fn make(cluster: &Cluster, collection: &str, body: &Value) -> Value {
    let (code, made) = cluster.post(collection, body).await;
    assert_eq!(code, 201, "{collection}: {made}");
    made
}

fn pod(name: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

/// A workload (`apps/v1`, or a ReplicationController) of pods with the label `app`.
fn workload(kind: &str, name: &str, replicas: u32, image: &str) -> Value {
    let labels = json!({"app": name});
    let (version, selector) = match kind {
        "ReplicationController" => ("v1", labels.clone()),
        _ => ("apps/v1", json!({"matchLabels": labels})),
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": replicas, "selector": selector,
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn rc(name: &str, replicas: u32) -> Value {
    workload("ReplicationController", name, replicas, "i")
}

fn owners(object: &Value) -> Vec<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners.map(|owner| owner["uid"].as_str().unwrap()).collect()
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}
