//! Paths of the kubelet API (`pkg/kubelet/server/server.go`).

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::server::{Caller, Config};
use super::{Body, container_logs, forward, metrics, remote, stats, text};
use crate::pods::PodHandle;

/// Answers one request.
pub async fn answer(config: &Config, caller: Caller, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let segments: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if let ["healthz", ..] = segments.as_slice() {
        return text(StatusCode::OK, "ok");
    }
    if caller == Caller::Unknown {
        return text(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    let readable = matches!(*request.method(), Method::GET | Method::HEAD);
    match segments.as_slice() {
        ["pods" | "runningpods"] if readable => super::json(&pod_list(config)),
        ["debug", "pods"] if readable => super::json(&debug_pods(config).await),
        ["stats", "summary"] if readable => super::json(&stats::summary(config).await),
        ["metrics"] if readable => metrics::agent(config),
        ["metrics", "resource"] if readable => metrics::resource(config).await,
        ["containerLogs", namespace, pod, container] if readable => {
            let query = request.uri().query().unwrap_or_default();
            match find(config, namespace, pod) {
                Ok(pod) => container_logs::answer(config, &pod, container, query).await,
                Err(response) => response,
            }
        }
        // The uid may stand between pod and container.
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            match find(config, namespace, pod) {
                Ok(pod) => remote::exec(&pod, container, request).await,
                Err(response) => response,
            }
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            match find(config, namespace, pod) {
                Ok(pod) => remote::attach(config, &pod, container, request).await,
                Err(response) => response,
            }
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            match find(config, namespace, pod) {
                Ok(pod) => forward::answer(&pod, request).await,
                Err(response) => response,
            }
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn find(config: &Config, namespace: &str, name: &str) -> Result<PodHandle, Response<Body>> {
    config.pods.find(namespace, name).ok_or_else(|| {
        text(
            StatusCode::NOT_FOUND,
            format!("pod \"{name}\" not found in namespace \"{namespace}\""),
        )
    })
}

fn pod_list(config: &Config) -> Value {
    let items: Vec<Value> = config
        .pods
        .all()
        .iter()
        .map(|handle| serde_json::to_value(&**handle.pod.borrow()).unwrap_or_default())
        .collect();
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}

/// Stages of every pod's start (unix nanoseconds), memory of its VMM, and what the guest counts.
async fn debug_pods(config: &Config) -> Value {
    let mut items = Vec::new();
    for handle in config.pods.all() {
        let vm = handle.vm.borrow().clone();
        let memory = config.shared.vms.memory(&handle.uid).map(|memory| {
            json!({"rssBytes": memory.rss, "pssBytes": memory.pss, "privateBytes": memory.private, "guestBytes": memory.guest, "sharedBytes": memory.shared})
        });
        let guest = stats::guest_stats(&handle).await.map(|stats| {
            json!({"memoryTotalBytes": stats.memory_total_bytes, "memoryAvailableBytes": stats.memory_available_bytes})
        });
        let machine = handle.machine.borrow().clone();
        items.push(json!({
            "namespace": handle.namespace,
            "name": handle.name,
            "uid": handle.uid,
            "bootId": machine.state.boot_id,
            "podIP": machine.state.address,
            "sandbox": format!("{:?}", machine.state.sandbox),
            "vmmPid": vm.map(|vm| vm.pid),
            "vmmMemory": memory,
            "guest": guest,
            "stages": handle.stages.snapshot(),
        }));
    }
    json!({"node": config.shared.facts.node_name, "pods": items})
}
