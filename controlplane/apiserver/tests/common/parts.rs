//! The other parts of a control plane beside the server, and what runs pods in name only.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::common::{Cluster, Events};

/// Containers of this image never become ready.
pub const BROKEN: &str = "broken";

/// Runs the controllers beside the server until the token is cancelled.
pub async fn controllers(cluster: &Cluster) -> CancellationToken {
    let token = CancellationToken::new();
    let config = controllers::Config {
        pki: Arc::new(cluster.handle.pki.clone()),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
    };
    tokio::spawn(controllers::run(cluster.client().await, config, token.clone()));
    token
}

/// Runs the scheduler likewise.
pub async fn scheduler(cluster: &Cluster) -> CancellationToken {
    let token = CancellationToken::new();
    tokio::spawn(scheduler::run(cluster.client().await, token.clone()));
    token
}

/// With which code a pod's container ends, if it does: `exit-3`, or `exit-0=1.else=0` where it depends on the completion index.
fn exit_code(pod: &Value) -> Option<i64> {
    let image = pod["spec"]["containers"][0]["image"].as_str()?.strip_prefix("exit-")?;
    let index = &pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"];
    let index = index.as_str().unwrap_or("else");
    let rules = || image.split('.').map(|rule| rule.split_once('=').unwrap_or(("else", rule)));
    let (_, code) = rules().find(|(key, _)| *key == index || *key == "else")?;
    code.parse().ok()
}

/// The status of a pod whose container has ended, long ago: nobody need wait because of it.
fn ended(code: i64) -> Value {
    json!({"phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [
        {"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "finishedAt": "2020-01-01T00:00:00Z"}}}]})
}

/// Does what a node's agent does to a pod's object, for every pod, on a node or not: says that it runs, or how it ended, and ends it
/// when it is deleted.
pub async fn run_pods(cluster: &Cluster) {
    let mut events = Events::new(cluster.send("GET", "/api/v1/pods?watch=true", &[], "").await);
    let mut started = 0_u8;
    while let Some(event) = events.next_ever().await {
        let pod = &event["object"];
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}",
            text("/metadata/namespace"),
            text("/metadata/name")
        );
        if event["type"] == "DELETED" {
            continue;
        }
        let strategic = [("content-type", "application/strategic-merge-patch+json")];
        let say = async |status: Value| {
            let status = json!({"status": status});
            cluster.json("PATCH", &format!("{path}/status"), &strategic, &status).await;
        };
        let phase = text("/status/phase");
        if !text("/metadata/deletionTimestamp").is_empty() {
            if phase == "Running" {
                say(ended(137)).await;
            }
            let now = json!({"gracePeriodSeconds": 0});
            cluster.json("DELETE", &path, &[], &now).await;
        } else if phase == "Pending" && text("/spec/containers/0/image") != BROKEN {
            if let Some(code) = exit_code(pod) {
                say(ended(code)).await;
                continue;
            }
            started = started.wrapping_add(1);
            let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            say(json!({"phase": "Running", "podIP": format!("10.250.0.{started}"), "conditions": [ready]})).await;
        }
    }
}
