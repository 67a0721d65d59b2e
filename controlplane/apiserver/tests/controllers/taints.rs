//! Pods of nodes with taints. Conformance: sig-node NoExecuteTaintManager.

use serde_json::{Value, json};

use super::{MERGE, Space, pod};

impl Space {
    /// A pod on a node that tolerates the test's taint for so many seconds.
    async fn tolerant(&self, name: &str, node: &str, seconds: u32) -> String {
        let mut pod = pod(name, "a");
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["tolerations"] = json!([{"key": "kubernetes.io/e2e-evict-taint-key", "operator": "Equal",
            "value": "evictTaintVal", "effect": "NoExecute", "tolerationSeconds": seconds}]);
        self.make(&self.pods(), &pod).await;
        format!("{}/{name}", self.pods())
    }

    async fn taint(&self, node: &str, taints: Value) {
        let path = format!("/api/v1/nodes/{node}");
        let patch = json!({"spec": {"taints": taints}});
        let (code, _, answer) = self.cluster.json("PATCH", &path, &[MERGE], &patch).await;
        assert_eq!(code, 200, "{answer}");
    }
}

fn taints() -> Value {
    json!([{"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}])
}

fn stays(pod: &Value) -> bool {
    pod["metadata"].get("deletionTimestamp").is_none()
}

#[tokio::test]
async fn each_pod_is_evicted_when_its_time_is_over() {
    let space = Space::new("taints-evict").await;
    let node = space.nodes(1).await.remove(0);
    let soon = space.tolerant("soon", &node, 1).await;
    let later = space.tolerant("later", &node, 6).await;
    let never = space.tolerant("never", &node, 600).await;
    space.taint(&node, taints()).await;
    space.gone(&soon).await;
    let (code, pod) = space.cluster.get(&later).await;
    assert!(code == 200 && stays(&pod), "its time is not over: {pod}");
    space.gone(&later).await;
    let (code, pod) = space.cluster.get(&never).await;
    assert!(code == 200 && stays(&pod), "{pod}");
}

#[tokio::test]
async fn a_taint_that_is_taken_away_evicts_nobody() {
    let space = Space::new("taints-cancel").await;
    let nodes = space.nodes(2).await;
    let spared = space.tolerant("spared", &nodes[0], 3).await;
    let evicted = space.tolerant("evicted", &nodes[1], 5).await;
    space.taint(&nodes[0], taints()).await;
    space.taint(&nodes[1], taints()).await;
    let tainted = |node: &Value| node["spec"]["taints"][0]["timeAdded"].is_string();
    space.see(&format!("/api/v1/nodes/{}", nodes[0]), tainted).await;
    space.taint(&nodes[0], Value::Null).await;
    // When the other one goes, this one would be gone.
    space.gone(&evicted).await;
    let (code, pod) = space.cluster.get(&spared).await;
    assert!(code == 200 && stays(&pod), "{pod}");
}
