//! Pods of one node: their statuses say that they run; deleted ones go away.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Shared, nodes::now};

/// Before a watch that failed is begun again.
const AGAIN: Duration = Duration::from_secs(1);
const MERGE: &str = "application/merge-patch+json";

/// Follows the node's pods until the process ends.
pub async fn follow(shared: Shared, node: &'static str) {
    loop {
        if let Err(error) = watch(&shared, node).await {
            eprintln!("pods of {node}: {error:#}");
        }
        // interval: only after a watch that ended.
        tokio::time::sleep(AGAIN).await;
    }
}

async fn watch(shared: &Shared, node: &str) -> Result<()> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    let mut events = shared.client.watch(&path).await?;
    while let Some(event) = events.next().await? {
        if matches!(event["type"].as_str(), Some("ADDED" | "MODIFIED")) {
            let shared = shared.clone();
            tokio::spawn(async move { tend(&shared, &event["object"]).await });
        }
    }
    Ok(())
}

async fn tend(shared: &Shared, pod: &Value) {
    let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let uid = &pod["metadata"]["uid"];
    let _made = shared.pod_folder(&namespace, &name);
    let outcome = if pod.pointer("/metadata/deletionTimestamp").is_some() {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid}});
        shared.client.send("DELETE", &path, "application/json", &options).await
    } else {
        let status = status(pod, &address(&text(pod, "/metadata/uid")), &now());
        if is_part(&status, &pod["status"]) {
            return;
        }
        let patch = json!({"metadata": {"uid": uid}, "status": status});
        shared.client.send("PATCH", &format!("{path}/status"), MERGE, &patch).await
    };
    if let Err(error) = outcome {
        let text = format!("{error:#}");
        // Someone was faster.
        if !text.contains("NotFound") && !text.contains("Conflict") {
            eprintln!("pod {namespace}/{name}: {text}");
        }
    }
}

/// The main program of a pod ended well: a pod that does not restart it has succeeded.
pub async fn end(shared: &Shared, namespace: &str, name: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let Ok(pod) = shared.client.send("GET", &path, MERGE, &Value::Null).await else { return };
    if text(&pod, "/spec/restartPolicy") != "Never" {
        return;
    }
    let patch = json!({"status": {"phase": "Succeeded"}});
    let ended = shared.client.send("PATCH", &format!("{path}/status"), MERGE, &patch).await;
    if let Err(error) = ended {
        eprintln!("pod {namespace}/{name}: {error:#}");
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// An address of the pod's own, from its UID. Nothing answers there.
fn address(uid: &str) -> String {
    let sum = uid.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("10.250.{}.{}", sum >> 8 & 0xff, 1 + sum % 250)
}

/// What the status of a bound pod says. Times of the present status stay.
fn status(pod: &Value, address: &str, now: &str) -> Value {
    let started = pod["status"]["startTime"].as_str().unwrap_or(now).to_owned();
    let command = pod["spec"]["containers"][0]["command"][0].as_str().unwrap_or_default();
    let phase = match (pod["spec"]["restartPolicy"].as_str(), command) {
        _ if pod["status"]["phase"] == "Succeeded" => "Succeeded",
        (Some("Always"), _) => "Running",
        (_, "true") => "Succeeded",
        (_, "false") => "Failed",
        _ => "Running",
    };
    let generation = pod["metadata"]["generation"].clone();
    let ready = if phase == "Running" { "True" } else { "False" };
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": started, "observedGeneration": generation});
    let mut status = json!({
        "phase": phase, "hostIP": "127.0.0.1", "podIP": address, "podIPs": [{"ip": address}], "startTime": started,
        "observedGeneration": generation,
        "conditions": [condition("PodReadyToStartContainers", "True"), condition("Initialized", "True"),
            condition("Ready", ready), condition("ContainersReady", ready), condition("PodScheduled", "True")],
        "containerStatuses": containers(&pod["spec"]["containers"], phase, &started),
    });
    for (list, field) in [
        ("ephemeralContainers", "ephemeralContainerStatuses"),
        ("initContainers", "initContainerStatuses"),
    ] {
        let phase = if list == "initContainers" { "Succeeded" } else { phase };
        if pod["spec"][list].is_array() {
            status[field] = containers(&pod["spec"][list], phase, &started);
        }
    }
    status
}

fn containers(list: &Value, phase: &str, started: &str) -> Value {
    let one = |container: &Value| {
        let name = &container["name"];
        let exit = i32::from(phase == "Failed");
        let state = match phase {
            "Running" => json!({"running": {"startedAt": started}}),
            _ => {
                json!({"terminated": {"exitCode": exit, "startedAt": started, "finishedAt": started,
                "reason": if exit == 0 { "Completed" } else { "Error" }, "containerID": "wire://1"}})
            }
        };
        let mut status = json!({"name": name, "image": container["image"], "imageID": "wire", "containerID": "wire://1",
            "ready": phase == "Running", "started": phase == "Running", "restartCount": 0, "state": state});
        if let Some(resources) = container.get("resources").filter(|r| **r != json!({})) {
            status["resources"] = resources.clone();
        }
        status
    };
    list.as_array().into_iter().flatten().map(one).collect()
}

/// Everything of `part` is in `whole`.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => in_map(part, whole),
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(a, b)| is_part(a, b))
        }
        _ => part == whole,
    }
}

fn in_map(part: &Map<String, Value>, whole: &Map<String, Value>) -> bool {
    part.iter().all(|(key, value)| whole.get(key).is_some_and(|other| is_part(value, other)))
}
