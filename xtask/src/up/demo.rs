//! The demo: nginx with three replicas, a Service, and the page fetched through it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde_json::json;

use super::services::REGISTRY;
use crate::{e2e::http, kube};

/// Where the demo answers on every node.
pub const NODE_PORT: u16 = 30080;
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Applies, waits for the rollout, fetches the page from a node's address.
pub fn run(node: &str, replicas: u8, bar: &ProgressBar) -> Result<String> {
    kube::apply(&deployment(replicas))?;
    kube::apply(&service())?;
    bar.set_message("rollout of deployment/web");
    kube::run(&["rollout", "status", "deployment/web", "--timeout=300s"])?;
    bar.set_message("fetching the page through the Service");
    let address = format!("{node}:{NODE_PORT}");
    let page = fetch_until(&address, "runs in a microVM")?;
    let title = page.lines().find(|line| line.contains("<h1>")).unwrap_or_default();
    Ok(format!("http://{address}/ says {title}"))
}

/// Fetches the page until it holds `text`.
fn fetch_until(address: &str, text: &str) -> Result<String> {
    let deadline = Instant::now() + ANSWER_DEADLINE;
    loop {
        match http::get(address, "/") {
            Ok(page) if page.contains(text) => return Ok(page),
            Ok(page) if Instant::now() > deadline => {
                bail!("{address} answered without {text:?}: {page}");
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error).context("the page did not come");
            }
            // interval: services are programmed by watches on the nodes; nothing tells an outside client when.
            _ => std::thread::sleep(Duration::from_millis(250)),
        }
    }
}

fn deployment(replicas: u8) -> serde_json::Value {
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{
                "name": "nginx", "image": format!("{REGISTRY}/nginx:latest"), "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 2, "timeoutSeconds": 5},
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            }]},
        }},
    })
}

fn service() -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 80, "nodePort": NODE_PORT}]},
    })
}
