//! Requests that a node agent answers: logs and upgraded streams, through a stand-in agent.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use access::pki;
use bytes::Bytes;
use common::Cluster;
use futures::StreamExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

/// Answers log requests with their path, and echoes upgraded streams. Wants our client certificate.
async fn agent(cluster: &Cluster) -> SocketAddr {
    let mut tls = pki::server_tls_config(&cluster.handle.pki).unwrap();
    tls.alpn_protocols.clear();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            assert!(stream.get_ref().1.peer_certificates().is_some());
            let service = hyper::service::service_fn(serve);
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    address
}

async fn serve(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().to_string();
    if path.contains("previous=true") {
        let mut refused = Response::new(Full::from("previous terminated container not found"));
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(refused);
    }
    if !request.headers().contains_key(header::UPGRADE) {
        return Ok(Response::new(Full::from(path)));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut bytes = [0; 64];
        loop {
            let count = stream.read(&mut bytes).await.unwrap_or(0);
            if count == 0 || stream.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    });
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
    reply.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
    reply.headers_mut().insert("x-path", path.parse().unwrap());
    Ok(reply)
}

async fn pod_on_agent(cluster: &Cluster) -> &'static str {
    let address = agent(cluster).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "InternalIP", "address": address.ip().to_string()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": address.port()}}}});
    assert_eq!(cluster.post("/api/v1/nodes", &node).await.0, 201);
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    let (code, pod) = cluster.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(code, 201, "{pod}");
    "/api/v1/namespaces/default/pods/p"
}

#[tokio::test]
async fn logs_come_from_the_agent() {
    let cluster = Cluster::start().await;
    let pod = pod_on_agent(&cluster).await;
    let (code, headers, text) =
        cluster.json("GET", &format!("{pod}/log?follow=true&tailLines=3"), &[], &Value::Null).await;
    assert_eq!(headers["content-type"], "text/plain");
    assert_eq!((code, text), (200, json!("/containerLogs/default/p/c?follow=true&tailLines=3")));
    let (code, error) = cluster.get(&format!("{pod}/log?previous=true")).await;
    let text = "previous terminated container not found";
    assert_eq!((code, error["message"].as_str().unwrap()), (400, text));
    let (code, error) = cluster.get(&format!("{pod}/log?container=x")).await;
    assert_eq!(
        (code, error["message"].as_str().unwrap()),
        (400, "container x is not valid for pod p")
    );
    cluster.handle.shutdown().await;
}

/// A connection without HTTP/2.
async fn connect(cluster: &Cluster) -> TlsStream<TcpStream> {
    let pki = &cluster.handle.pki;
    let mut config = pki::client_tls_config(pki.ca_pem(), Some(pki.admin())).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(cluster.handle.addresses[0]).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap()
}

/// The messages of a GET over a WebSocket.
async fn socket(
    cluster: &Cluster,
    path: &str,
    protocol: &str,
) -> WebSocketStream<TlsStream<TcpStream>> {
    let mut request = format!("wss://127.0.0.1{path}").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    let (socket, response) =
        tokio_tungstenite::client_async(request, connect(cluster).await).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
    socket
}

#[tokio::test]
async fn logs_and_watches_come_over_websockets() {
    let cluster = Cluster::start().await;
    let pod = pod_on_agent(&cluster).await;
    let path = format!("{pod}/log?follow=true");
    let mut log = socket(&cluster, &path, "binary.k8s.io").await;
    let mut text = Vec::new();
    while let Some(Ok(Message::Binary(piece))) = log.next().await {
        text.extend_from_slice(&piece);
    }
    assert_eq!(text, b"/containerLogs/default/p/c?follow=true");
    let mut log = socket(&cluster, &path, "base64.binary.k8s.io").await;
    assert_eq!(log.next().await.unwrap().unwrap(), Message::text(""));
    assert!(matches!(log.next().await.unwrap().unwrap(), Message::Text(_)));
    let pods = "/api/v1/namespaces/default/pods?watch=true";
    let mut watch = socket(&cluster, pods, "events.example").await;
    for expect in ["ADDED", "DELETED"] {
        let message = watch.next().await.unwrap().unwrap();
        let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!(expect), &json!("p"))
        );
        cluster.json("DELETE", pod, &[], &json!({"gracePeriodSeconds": 0})).await;
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn upgrades_pass_through_byte_for_byte() {
    let cluster = Cluster::start().await;
    let pod = pod_on_agent(&cluster).await;
    let stream = connect(&cluster).await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = Request::builder()
        .uri(format!("{pod}/exec?command=sh&command=-c&stdin=true"))
        .header("host", "x")
        .header("connection", "Upgrade")
        .header("upgrade", "echo")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "echo");
    let path = response.headers()["x-path"].to_str().unwrap();
    assert_eq!(path, "/exec/default/p/c?command=sh&command=-c&stdin=true");
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
    drop(stream);
    let plain = cluster.send("GET", &format!("{pod}/log"), &[], "").await;
    assert_eq!(plain.into_body().collect().await.unwrap().to_bytes(), "/containerLogs/default/p/c");
    cluster.handle.shutdown().await;
}
