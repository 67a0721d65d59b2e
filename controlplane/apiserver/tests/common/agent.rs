//! A stand-in for a node's agent: it forwards ports of every pod to this machine's loopback, and counts.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use access::pki;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::Cluster;

/// Starts an agent and registers its node, `n1`.
pub async fn node(cluster: &Cluster) -> SocketAddr {
    let mut tls = pki::server_tls_config(&cluster.handle.pki).unwrap();
    tls.alpn_protocols.clear();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let looks = Arc::new(AtomicU64::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, looks) = (acceptor.clone(), looks.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                assert!(stream.get_ref().1.peer_certificates().is_some());
                let service = hyper::service::service_fn(move |request| {
                    let looks = looks.clone();
                    async move { Ok::<_, Infallible>(answer(request, &looks)) }
                });
                let _ended = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            });
        }
    });
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"rack": "7"}}, "status": {
        "addresses": [{"type": "InternalIP", "address": address.ip().to_string()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": address.port()}}}});
    let (code, made) = cluster.post("/api/v1/nodes", &node).await;
    assert_eq!(code, 201, "{made}");
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    address
}

/// A running pod on `n1` with one named port.
pub async fn pod(cluster: &Cluster, name: &str, port: u16) -> Value {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i",
            "ports": [{"name": "web", "containerPort": port}]}]}});
    let (code, made) = cluster.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(code, 201, "{made}");
    made
}

/// A service `name` with port 443 or 80 named `web` and one endpoint, the pod of the same name.
pub async fn service(cluster: &Cluster, name: &str, port: u16, pod_port: u16) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"name": "web", "port": port, "targetPort": pod_port}], "selector": {"app": name}}});
    let (code, made) = cluster.post("/api/v1/namespaces/default/services", &service).await;
    assert_eq!(code, 201, "{made}");
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
        "ports": [{"name": "web", "port": pod_port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.0.9"], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": name}}]});
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let (code, made) = cluster.post(path, &slice).await;
    assert_eq!(code, 201, "{made}");
}

fn answer(mut request: Request<Incoming>, looks: &AtomicU64) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/portForward/") {
        return forward(&mut request);
    }
    if path == "/stats/summary" {
        let look = looks.fetch_add(1, Ordering::Relaxed);
        return Response::new(Full::from(summary(look).to_string()));
    }
    Response::new(Full::from(format!("agent {} {path}", request.method())))
}

fn forward(request: &mut Request<Incoming>) -> Response<Full<Bytes>> {
    let (response, pending) = match streams::accept_forward(request) {
        Ok(accepted) => accepted,
        Err(refusal) => return refusal.response().map(Full::from),
    };
    tokio::spawn(async move {
        let Ok(mut forward) = pending.start().await else { return };
        while let Some(connection) = forward.connections.recv().await {
            tokio::spawn(async move {
                match TcpStream::connect(("127.0.0.1", connection.port)).await {
                    Ok(target) => drop(streams::splice(connection.data, target).await),
                    Err(error) => connection.error.fail(error.to_string()),
                }
            });
        }
    });
    response.map(|()| Full::default())
}

/// Half a core of the node and a tenth by one container, ten seconds later with every look.
fn summary(look: u64) -> Value {
    let time = format!("2026-01-01T00:{:02}:{:02}Z", look / 6, look % 6 * 10);
    let counters = |cpu: u64| {
        json!({"cpu": {"time": time, "usageCoreNanoSeconds": cpu * look * 10},
            "memory": {"time": time, "workingSetBytes": 64 << 20}})
    };
    let mut container = counters(100_000_000);
    container["name"] = json!("c");
    let mut node = counters(500_000_000);
    node["nodeName"] = json!("n1");
    json!({"node": node, "pods": [{"podRef": {"name": "p", "namespace": "default", "uid": "UID"}, "containers": [container]}]})
}
