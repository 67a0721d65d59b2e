//! The objects that are written.

use serde_json::{Value, json};

/// A pod as a Deployment would make it, two containers, about 2 KB of JSON.
#[must_use]
pub fn pod(index: usize) -> Value {
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/shop/{name}:1.27.{}", index % 50),
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LEVEL", "value": "info"}, {"name": "SHARD", "value": (index % 16).to_string()}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/shop"}, {"name": "data", "mountPath": "/data"}],
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{index:06}"), "labels": {"app": "shop", "tier": "web", "shard": (index % 16).to_string()},
            "annotations": {"example.com/revision": "7"}},
        "spec": {"containers": [container("web"), container("sidecar")],
            "volumes": [{"name": "config", "configMap": {"name": "shop"}}, {"name": "data", "emptyDir": {}}]},
    })
}

/// A small object.
#[must_use]
pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "value"}})
}
