//! Requests that a node agent answers: logs, exec, attach, port-forward, and the proxies.

mod connect;
mod container;
mod forward;

use std::net::{IpAddr, SocketAddr};

use access::Lookup;
use api::{Reason, Status, meta};
use http::{StatusCode, header};
use serde_json::Value;

use crate::{
    call::Call,
    errors,
    respond::{self, Reply},
};
use connect::Peer;

/// The agent's port where the node's status names none.
const AGENT_PORT: u16 = 10250;

/// `log`, `exec`, `attach` and `portforward` of a pod.
pub async fn pod_stream(call: Call) -> Result<Reply, Status> {
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
    let query = call.query.encode();
    forward::forward(call, peer, &with_query(&path, &query), verb == "log").await
}

/// `proxy` of a node, a pod or a service, with any method and upgrades.
pub async fn proxy(call: Call) -> Result<Reply, Status> {
    let (scheme, name, port) = split_name(&call.target.name);
    let path = if call.target.rest.is_empty() { "/" } else { &call.target.rest };
    let path = with_query(path, call.uri.query().unwrap_or_default());
    let peer = match call.target.resource.as_str() {
        "nodes" => agent(&call, name)?,
        "pods" => Peer::Plain(pod_address(&call, name, port)?),
        _ => Peer::Plain(service_address(&call, name, port)?),
    };
    if scheme == "https" {
        return Err(Status::new(
            Reason::ServiceUnavailable,
            "proxying to https backends is not supported",
        ));
    }
    forward::forward(call, peer, &path, false).await
}

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// `[scheme:]name[:port]`.
fn split_name(text: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [scheme, name, port] => (scheme, name, port),
        [name, port] => ("", name, port),
        _ => ("", text, ""),
    }
}

/// Where a node's agent listens: its InternalIP and the port in its status.
fn agent(call: &Call, node: &str) -> Result<Peer, Status> {
    let found = Lookup::get(&*call.app.cache, "", "nodes", "", node).ok_or_else(|| Status {
        kind: "nodes".into(),
        name: node.into(),
        ..Status::new(Reason::NotFound, format!("nodes {node:?} not found"))
    })?;
    let addresses = found["status"]["addresses"].as_array();
    let address = ["InternalIP", "ExternalIP", "Hostname"].iter().find_map(|kind| {
        let of_kind = |address: &&Value| address["type"] == *kind;
        let address = addresses?.iter().find(of_kind)?["address"].as_str()?;
        address.parse::<IpAddr>().ok()
    });
    let port = found["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(AGENT_PORT);
    let address = address.ok_or_else(|| {
        errors::internal(format!("no preferred addresses found for node {node:?}"))
    })?;
    Ok(Peer::Agent(SocketAddr::new(address, port)))
}

fn pod_address(call: &Call, name: &str, port: &str) -> Result<SocketAddr, Status> {
    let pod = Lookup::get(&*call.app.cache, "", "pods", &call.target.namespace, name)
        .ok_or_else(|| errors::not_found(&call.kind, name))?;
    let address = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
    let address =
        address.ok_or_else(|| errors::bad_request("address not allowed or pod has no IP"))?;
    let first = || pod["spec"]["containers"][0]["ports"][0]["containerPort"].as_u64();
    let port = if port.is_empty() {
        first().and_then(|port| u16::try_from(port).ok()).unwrap_or(80)
    } else {
        port.parse().map_err(|_| errors::bad_request(format!("invalid pod request {name:?}")))?
    };
    Ok(SocketAddr::new(address, port))
}

fn service_address(call: &Call, name: &str, port: &str) -> Result<SocketAddr, Status> {
    let service = Lookup::get(&*call.app.cache, "", "services", &call.target.namespace, name)
        .ok_or_else(|| errors::not_found(&call.kind, name))?;
    let unavailable = || {
        let message = format!("no endpoints available for service {name:?}");
        Status::new(Reason::ServiceUnavailable, message)
    };
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let wanted = ports.iter().find(|p| {
        port.is_empty()
            || p["name"] == port
            || port.parse::<u64>().is_ok_and(|number| p["port"] == number)
    });
    let wanted = wanted.ok_or_else(unavailable)?;
    let slices = Lookup::list(
        &*call.app.cache,
        "discovery.k8s.io",
        "endpointslices",
        Some(&call.target.namespace),
    );
    for slice in
        slices.iter().filter(|s| s["metadata"]["labels"]["kubernetes.io/service-name"] == name)
    {
        let same =
            |p: &&Value| p["name"].as_str().unwrap_or("") == wanted["name"].as_str().unwrap_or("");
        let Some(port) = slice["ports"].as_array().and_then(|ports| ports.iter().find(same)) else {
            continue;
        };
        let ready = slice["endpoints"].as_array().into_iter().flatten();
        let mut ready = ready.filter(|endpoint| endpoint["conditions"]["ready"] != false);
        let address = ready.find_map(|e| e["addresses"][0].as_str()?.parse::<IpAddr>().ok());
        let port = port["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        if let (Some(address), Some(port)) = (address, port) {
            return Ok(SocketAddr::new(address, port));
        }
    }
    Err(unavailable())
}

/// Headers that belong to one connection and are not forwarded.
const HOP_HEADERS: &[header::HeaderName] =
    &[header::HOST, header::AUTHORIZATION, header::TE, header::TRAILER, header::TRANSFER_ENCODING];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_names_carry_scheme_and_port() {
        for (text, expect) in [
            ("a", ("", "a", "")),
            ("a:80", ("", "a", "80")),
            ("https:a:443", ("https", "a", "443")),
            ("http:a:", ("http", "a", "")),
        ] {
            assert_eq!(split_name(text), expect);
        }
    }
}
