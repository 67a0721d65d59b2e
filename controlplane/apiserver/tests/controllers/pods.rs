//! Pods' objects while they run. Conformance: sig-node Pods.

use serde_json::{Value, json};

use super::{Space, pod};
use crate::common::Events;

fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

#[tokio::test]
async fn running_pods_are_updated() {
    let space = Space::new("pod-updates").await;
    space.make(&space.pods(), &pod("p", "web")).await;
    let path = format!("{}/p", space.pods());
    let mut running = space.see(&path, is_running).await;
    running["metadata"]["labels"]["time"] = json!("later");
    running["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let (code, _, put) = space.cluster.json("PUT", &path, &[], &running).await;
    assert_eq!(code, 200, "{put}");
    let (_, listed) =
        space.cluster.get(&format!("{}?labelSelector=time%3Dlater", space.pods())).await;
    assert_eq!(listed["items"][0]["metadata"]["name"], "p");
    assert!(is_running(&listed["items"][0]), "an update leaves the status alone");
}

#[tokio::test]
async fn the_life_of_a_pod_and_its_status() {
    let space = Space::new("pod-life").await;
    let watch = format!("{}?watch=true&labelSelector=app%3Dweb", space.pods());
    let mut events = Events::new(space.cluster.send("GET", &watch, &[], "").await);
    let mut placed = pod("p", "web");
    placed["spec"]["nodeName"] = json!(space.nodes(1).await[0]);
    space.make(&space.pods(), &placed).await;
    assert_eq!(events.brief().await, "ADDED p");
    let path = format!("{}/p", space.pods());
    space.see(&path, is_running).await;
    let patch = json!({"metadata": {"labels": {"test": "patched"}},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": "other"}]}});
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let (code, _, patched) = space.cluster.json("PATCH", &path, &strategic, &patch).await;
    assert_eq!(
        (code, &patched["spec"]["containers"][0]["image"]),
        (200, &json!("other")),
        "{patched}"
    );
    let mut status = space.cluster.get(&format!("{path}/status")).await.1;
    let conditions = status["status"]["conditions"].as_array_mut().unwrap();
    let ready = conditions.iter_mut().find(|it| it["type"] == "Ready").unwrap();
    *ready =
        json!({"type": "Ready", "status": "False", "reason": "E2E", "message": "Set from a test"});
    status["spec"]["containers"][0]["image"] = json!("ignored");
    status["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let (code, _, replaced) =
        space.cluster.json("PUT", &format!("{path}/status"), &[], &status).await;
    assert_eq!(code, 200, "{replaced}");
    assert_eq!(
        replaced["spec"]["containers"][0]["image"], "other",
        "a status request changes no spec"
    );
    assert!(replaced["status"]["conditions"].to_string().contains("Set from a test"), "{replaced}");
    let own = format!("{}?labelSelector=test%3Dpatched", space.pods());
    let (code, _, _) = space.cluster.json("DELETE", &own, &[], &Value::Null).await;
    assert_eq!(code, 200);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "DELETED p") {
        seen.push(events.brief().await);
    }
    assert!(seen[..seen.len() - 1].iter().all(|event| event == "MODIFIED p"), "{seen:?}");
    assert_eq!(space.cluster.get(&path).await.0, 404);
}
