//! Requests that a node agent answers: logs, exec, attach, port-forward, and the proxies.

mod container;
mod forward;
mod proxy;

use std::net::SocketAddr;

use access::Lookup;
use api::{Reason, Status, meta};
use http::{HeaderMap, HeaderValue, StatusCode};
pub use proxy::proxy;

use crate::{
    audit,
    call::Call,
    errors, reach,
    respond::{self, Reply},
    serve::websocket,
};

/// `log`, `exec`, `attach` and `portforward` of a pod.
pub async fn pod_stream(mut call: Call) -> Result<Reply, Status> {
    let pod = call.current()?;
    let pod = pod.value();
    let verb = call.target.subresource.clone();
    let (namespace, name) = (meta::namespace(pod), meta::name(pod));
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let path = match verb.as_str() {
        "portforward" => format!("/portForward/{namespace}/{name}"),
        verb => {
            let container = container::choose(pod, call.query.get("container"))?;
            let verb = if verb == "log" { "containerLogs" } else { verb };
            format!("/{verb}/{namespace}/{name}/{container}")
        }
    };
    if node.is_empty() {
        if verb == "log" {
            return Ok(respond::bytes(StatusCode::OK, "text/plain", ""));
        }
        return Err(errors::bad_request(format!("pod {name} does not have a host assigned")));
    }
    if verb != "log" && matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        let what = if verb == "portforward" { "forward port" } else { "exec into a container" };
        return Err(errors::bad_request(format!(
            "cannot {what} in a completed pod; current phase is {phase}"
        )));
    }
    let peer = agent(&call, node)?;
    let path = with_query(&path, &call.query.encode());
    if verb != "log" {
        return forward::forward(call, peer, &path, false).await;
    }
    let socket = websocket::take(&mut call);
    let mut reply = forward::forward(call, peer, &path, true).await?;
    if let Some(socket) = socket {
        return socket.carry_bytes(reply);
    }
    // Generated clients do not read an answer without a type.
    let text = HeaderValue::from_static("text/plain");
    reply.headers_mut().entry(http::header::CONTENT_TYPE).or_insert(text);
    Ok(reply)
}

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Where a node's agent listens.
fn agent(call: &Call, node: &str) -> Result<SocketAddr, Status> {
    if Lookup::get(&*call.app.cache, "", "nodes", "", node).is_none() {
        return Err(Status {
            kind: "nodes".into(),
            name: node.into(),
            ..Status::new(Reason::NotFound, format!("nodes {node:?} not found"))
        });
    }
    reach::agent_of(&*call.app.cache, node)
        .ok_or_else(|| errors::internal(format!("no preferred addresses found for node {node:?}")))
}

/// Adds who asked to `X-Forwarded-For`.
fn forwarded_for(headers: &mut HeaderMap) {
    let Some(source) = audit::source() else { return };
    let before = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let list = before.map_or_else(|| source.clone(), |before| format!("{before}, {source}"));
    if let Ok(value) = HeaderValue::from_str(&list) {
        headers.insert("x-forwarded-for", value);
    }
}
