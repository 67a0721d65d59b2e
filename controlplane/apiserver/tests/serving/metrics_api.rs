//! metrics.k8s.io from the node agents, as `kubectl top` reads it.

use crate::common::{Cluster, agent};
use serde_json::json;

#[tokio::test]
async fn nodes_have_metrics_and_are_selected() {
    let cluster = Cluster::start().await;
    agent::node(&cluster).await;
    let base = "/apis/metrics.k8s.io/v1beta1";
    let (code, list) = cluster.get(&format!("{base}/nodes")).await;
    assert_eq!((code, &list["kind"]), (200, &json!("NodeMetricsList")), "{list}");
    let node = &list["items"][0];
    assert_eq!(node["metadata"]["name"], "n1");
    assert_eq!(node["usage"], json!({"cpu": "500000000n", "memory": "65536Ki"}));
    assert_eq!(node["window"], "10.000s");
    let (code, one) = cluster.get(&format!("{base}/nodes/n1")).await;
    assert_eq!((code, &one["kind"]), (200, &json!("NodeMetrics")));
    let (_, none) = cluster.get(&format!("{base}/nodes?labelSelector=rack%3D8")).await;
    assert_eq!(none["items"], json!([]));
    let (code, gone) = cluster.get(&format!("{base}/nodes/n2")).await;
    assert_eq!(
        (code, gone["message"].as_str().unwrap()),
        (404, "nodes.metrics.k8s.io \"n2\" not found")
    );
    let (code, _) = cluster.post(&format!("{base}/nodes"), &json!({})).await;
    assert_eq!(code, 405);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (code, _, rows) = cluster.json("GET", &format!("{base}/nodes"), &table, &json!(null)).await;
    assert_eq!(
        (code, &rows["rows"][0]["cells"]),
        (200, &json!(["n1", "500000000n", "65536Ki", "10.000s"]))
    );
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn the_group_is_in_discovery_with_a_local_apiservice() {
    let cluster = Cluster::start().await;
    let (_, list) = cluster.get("/apis/metrics.k8s.io/v1beta1").await;
    let names: Vec<&str> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["nodes", "pods"]);
    let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io";
    let local = |_: u16, service: &serde_json::Value| {
        service["status"]["conditions"][0]["reason"] == "Local"
    };
    cluster.until(path, local).await;
    cluster.handle.shutdown().await;
}
