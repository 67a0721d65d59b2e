//! The objects that checks apply.

use serde_json::{Value, json};

use crate::up::services::REGISTRY;

/// Seconds between SIGTERM and SIGKILL: a shell as PID 1 ignores SIGTERM.
const GRACE_SECONDS: u32 = 1;

/// An image of the rack's registry.
#[must_use]
pub fn image(name: &str) -> String {
    format!("{REGISTRY}/{name}:latest")
}

/// A container with small requests; no command leaves the image's own.
#[must_use]
pub fn container(name: &str, image_name: &str, command: &[&str]) -> Value {
    let mut container = json!({
        "name": name, "image": image(image_name), "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "96Mi"}},
    });
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    container
}

/// A pod; its label `app` is its name.
#[must_use]
pub fn pod(name: &str, containers: Vec<Value>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": GRACE_SECONDS, "containers": containers},
    })
}

/// A pod that does nothing, for running commands in.
#[must_use]
pub fn sleeper(name: &str) -> Value {
    pod(name, vec![container("main", "busybox", &["sleep", "86400"])])
}

/// A pod that runs a shell script.
#[must_use]
pub fn script(name: &str, text: &str) -> Value {
    pod(name, vec![container("main", "busybox", &["sh", "-c", text])])
}

/// The same pod, to be placed on a node by the scheduler.
#[must_use]
pub fn on_node(mut pod: Value, node: &str) -> Value {
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    pod
}

/// An nginx container that is Ready when it serves.
#[must_use]
pub fn nginx() -> Value {
    let mut nginx = container("nginx", "nginx", &[]);
    nginx["ports"] = json!([{"containerPort": 80}]);
    nginx["readinessProbe"] =
        json!({"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1, "timeoutSeconds": 5});
    nginx
}

/// The nginx that says `VERSION` under /version.txt. It goes on serving for a while after it was told to end, as
/// services behind a load balancer do: until every node knows that it is gone.
#[must_use]
pub fn versioned_nginx(version: &str) -> Value {
    let start = "echo $VERSION > /usr/share/nginx/html/version.txt; exec /usr/sbin/nginx";
    let mut container = nginx();
    container["command"] = json!(["sh", "-c", start]);
    container["env"] = json!([{"name": "VERSION", "value": version}]);
    container["readinessProbe"]["httpGet"]["path"] = json!("/version.txt");
    container["lifecycle"] = json!({"preStop": {"exec": {"command": ["sleep", "8"]}}});
    container
}

/// A Deployment of one-container pods that never has fewer than its replicas. Its label `app` is its name.
#[must_use]
pub fn deployment(name: &str, replicas: u32, container: Value) -> Value {
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": GRACE_SECONDS, "containers": [container]},
            },
        },
    })
}

/// A Service in front of pods with label `app`; NodePort, so that the host reaches it too.
#[must_use]
pub fn service(app: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": app},
        "spec": {"type": "NodePort", "selector": {"app": app}, "ports": [{"port": port, "targetPort": port}]},
    })
}
