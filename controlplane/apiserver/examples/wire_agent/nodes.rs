//! The Node objects and their leases.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::{NODES, Shared, client::Client};

/// As the kubelet renews its lease.
const LEASE_EVERY: Duration = Duration::from_secs(10);
const LEASE_SECONDS: u64 = 40;

pub async fn register(shared: &Shared) -> Result<()> {
    for name in NODES {
        lease(shared, name).await?;
        let node = node(name, shared.address);
        apply(&shared.client, &format!("/api/v1/nodes/{name}"), &node).await?;
        apply(&shared.client, &format!("/api/v1/nodes/{name}/status"), &node).await?;
    }
    Ok(())
}

fn node(name: &str, address: std::net::SocketAddr) -> Value {
    let now = now();
    let room = json!({"cpu": "32", "memory": "64Gi", "pods": "500", "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address.ip().to_string()}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": address.port()}},
            "capacity": room, "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it answers",
                "lastHeartbeatTime": now, "lastTransitionTime": now}],
            "nodeInfo": {"kubeletVersion": "v1.36.4", "osImage": "none", "kernelVersion": "6.12.0", "operatingSystem": "linux",
                "architecture": "amd64", "containerRuntimeVersion": "wire://1", "machineID": "1", "systemUUID": "1", "bootID": "1", "kubeProxyVersion": ""},
        },
    })
}

/// Renews a node's lease until the process ends.
pub async fn keep_lease(shared: Shared, node: &'static str) {
    // interval: a heartbeat, as the kubelet's.
    let mut interval = tokio::time::interval(LEASE_EVERY);
    loop {
        interval.tick().await;
        if let Err(error) = lease(&shared, node).await {
            eprintln!("node {node}: {error:#}");
        }
    }
}

async fn lease(shared: &Shared, node: &str) -> Result<()> {
    let renewed = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renewed},
    });
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}");
    apply(&shared.client, &path, &lease).await.map(drop)
}

pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Server-side apply.
async fn apply(client: &Client, path: &str, object: &Value) -> Result<Value> {
    let path = format!("{path}?fieldManager=wire-node&force=true");
    client.send("PATCH", &path, "application/apply-patch+yaml", object).await
}
