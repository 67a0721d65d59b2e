//! CustomResourceDefinitions and their objects over the wire. Conformance: sig-api-machinery CustomResource*, FieldValidation,
//! AggregatedDiscovery.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../common/mod.rs"]
mod common;
mod conversion;
mod definitions;
mod objects;
mod publish;

use common::{Cluster, Events};
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MERGE: &[(&str, &str)] = &[("content-type", "application/merge-patch+json")];
const JSON_PATCH: &[(&str, &str)] = &[("content-type", "application/json-patch+json")];

/// A definition of `plural` with one version and this schema of `spec`.
fn definition(plural: &str, kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[..plural.len() - 1], "kind": kind, "shortNames": [format!("{}x", &plural[..1])]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
                "subresources": {"status": {}}}]}})
}

/// Creates a definition and waits until its objects are served.
async fn establish(cluster: &Cluster, definition: &Value) {
    let (code, created) = cluster.post(DEFINITIONS, definition).await;
    assert_eq!(code, 201, "{created}");
    let name = definition["metadata"]["name"].as_str().unwrap();
    established(cluster, name).await;
    let spec = &definition["spec"];
    for version in spec["versions"].as_array().unwrap().iter().filter(|one| one["served"] == true) {
        let path = format!(
            "/apis/{}/{}/{}",
            spec["group"].as_str().unwrap(),
            version["name"].as_str().unwrap(),
            spec["names"]["plural"].as_str().unwrap()
        );
        until(|| async { cluster.get(&path).await.0 == 200 }).await;
    }
}

async fn established(cluster: &Cluster, name: &str) {
    let path = format!("{DEFINITIONS}?watch=1&fieldSelector=metadata.name%3D{name}");
    let mut events = Events::new(cluster.send("GET", &path, &[], "").await);
    loop {
        let event = events.next().await.expect("established before the watch ends");
        let conditions =
            event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True") {
            return;
        }
    }
}

/// Asks again until it holds; three minutes at most, as machines that run tests are busy.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let all = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(180), all)
        .await
        .expect("within three minutes");
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}
