//! The proxy subresources of pods, services and nodes, through a stand-in agent.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use crate::common::{Cluster, agent};
use access::pki;
use bytes::Bytes;
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

/// An HTTP server as a pod would run it.
async fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(echo);
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    address.port()
}

/// The same behind TLS, with a certificate that nobody signed.
async fn tls_backend() -> u16 {
    let signed = rcgen::generate_simple_self_signed(["backend.invalid".to_owned()]).unwrap();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(echo);
                let _ended = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            });
        }
    });
    address.port()
}

/// Says what it was asked; redirects from `/from`; echoes upgraded streams.
async fn echo(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/from" {
        let mut redirect = Response::new(Full::default());
        *redirect.status_mut() = StatusCode::FOUND;
        redirect.headers_mut().insert(header::LOCATION, "/to?x=1".parse().unwrap());
        return Ok(redirect);
    }
    if request.headers().contains_key(header::UPGRADE) {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                stream.write_all(&bytes[..count]).await.unwrap();
            }
        });
        let mut reply = Response::new(Full::default());
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        reply.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
        reply.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
        return Ok(reply);
    }
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let body = body.collect().await.unwrap().to_bytes();
    let said = json!({"method": parts.method.as_str(), "uri": parts.uri.to_string(), "body": String::from_utf8_lossy(&body),
        "authorization": text("authorization"), "x-mine": text("x-mine"), "forwarded-for": text("x-forwarded-for"),
        "forwarded-uri": text("x-forwarded-uri")});
    let mut reply = Response::new(Full::from(said.to_string()));
    reply.headers_mut().insert("access-control-allow-origin", "*".parse().unwrap());
    Ok(reply)
}

#[tokio::test]
async fn every_method_reaches_pods_and_services() {
    let cluster = Cluster::start().await;
    agent::node(&cluster).await;
    let port = backend().await;
    agent::pod(&cluster, "p", port).await;
    agent::service(&cluster, "p", 80, port).await;
    let pods = "/api/v1/namespaces/default/pods/p";
    let services = "/api/v1/namespaces/default/services";
    for base in [
        format!("{pods}/proxy"),
        format!("{pods}:{port}/proxy"),
        format!("/api/v1/namespaces/default/pods/http:p:{port}/proxy"),
        format!("{services}/p/proxy"),
        format!("{services}/p:80/proxy"),
        format!("{services}/p:web/proxy"),
        format!("{services}/http:p:web/proxy"),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let path = format!("{base}/a%2Fb//c/?q=1%202");
            let headers = [("x-mine", "yes"), ("authorization", "Basic eA==")];
            let (code, headers, said) = cluster.json(method, &path, &headers, &Value::Null).await;
            assert_eq!(code, 200, "{method} {path}: {said}");
            assert_eq!(said["method"], method);
            assert_eq!(said["uri"], "/a%2Fb//c/?q=1%202");
            assert_eq!((&said["x-mine"], &said["authorization"]), (&json!("yes"), &Value::Null));
            assert_eq!(said["forwarded-for"], "127.0.0.1");
            assert!(!headers.contains_key("access-control-allow-origin"));
        }
    }
    let (_, _, said) =
        cluster.json("POST", &format!("{pods}/proxy/x"), &[], &json!({"a": 1})).await;
    assert_eq!(said["body"], "{\"a\":1}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn the_prefix_https_speaks_tls_to_the_backend() {
    let cluster = Cluster::start().await;
    agent::node(&cluster).await;
    let port = tls_backend().await;
    agent::pod(&cluster, "p", port).await;
    agent::service(&cluster, "p", 443, port).await;
    let base = "/api/v1/namespaces/default";
    for name in [
        "services/https:p:443".to_owned(),
        "services/https:p:web".to_owned(),
        "services/https:p:".to_owned(),
        format!("pods/https:p:{port}"),
        "pods/https:p:web".to_owned(),
    ] {
        for method in ["GET", "POST"] {
            let path = format!("{base}/{name}/proxy/a%2Fb/?q=1");
            let (code, _, said) = cluster.json(method, &path, &[], &Value::Null).await;
            assert_eq!(code, 200, "{method} {path}: {said}");
            assert_eq!((&said["method"], &said["uri"]), (&json!(method), &json!("/a%2Fb/?q=1")));
            assert_eq!(said["forwarded-uri"], format!("{base}/{name}/proxy/a%2Fb/"));
        }
    }
    let from = format!("{base}/services/https:p:443/proxy/from");
    let (code, headers, _) = cluster.json("GET", &from, &[], &Value::Null).await;
    let to = format!("{base}/services/https:p:443/proxy/to?x=1");
    assert_eq!((code, headers["location"].to_str().unwrap()), (302, to.as_str()));
    // Without the prefix nothing but the start of a handshake that never comes is heard there.
    let (code, status) = cluster.get(&format!("{base}/services/p:443/proxy/")).await;
    let message = status["message"].as_str().unwrap();
    assert!(code == 503 && message.starts_with("error trying to reach service: "), "{message}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn the_root_gets_a_slash_and_redirects_lead_back() {
    let cluster = Cluster::start().await;
    agent::node(&cluster).await;
    let port = backend().await;
    agent::pod(&cluster, "p", port).await;
    let base = "/api/v1/namespaces/default/pods/p/proxy";
    let (code, headers, _) = cluster.json("GET", &format!("{base}?x=1"), &[], &Value::Null).await;
    assert_eq!(
        (code, headers["location"].to_str().unwrap()),
        (301, format!("{base}/?x=1").as_str())
    );
    let (code, _, said) = cluster.json("POST", base, &[], &Value::Null).await;
    assert_eq!((code, &said["uri"]), (200, &json!("/")));
    let (code, headers, _) = cluster.json("GET", &format!("{base}/from"), &[], &Value::Null).await;
    assert_eq!(
        (code, headers["location"].to_str().unwrap()),
        (302, format!("{base}/to?x=1").as_str())
    );
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn what_is_not_there_is_said_in_upstreams_words() {
    let cluster = Cluster::start().await;
    agent::node(&cluster).await;
    // Nothing listens on the discard port.
    agent::pod(&cluster, "p", 9).await;
    agent::service(&cluster, "p", 80, 9).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "none"}, "spec": {"ports": [{"port": 80}]}});
    cluster.post("/api/v1/namespaces/default/services", &service).await;
    for (path, code, message) in [
        ("services/none/proxy/", 503, "no endpoints available for service \"none\""),
        ("services/p:81/proxy/", 503, "no service port \"81\" found for service \"p\""),
        ("services/gone/proxy/", 404, "services \"gone\" not found"),
        ("pods/gone/proxy/", 404, "pods \"gone\" not found"),
        ("pods/ftp:p:1/proxy/", 400, "invalid pod request \"ftp:p:1\""),
    ] {
        let (got, status) = cluster.get(&format!("/api/v1/namespaces/default/{path}")).await;
        assert_eq!((got, status["message"].as_str().unwrap()), (code, message), "{path}");
    }
    let (code, status) = cluster.get("/api/v1/namespaces/default/pods/p/proxy/").await;
    let message = status["message"].as_str().unwrap();
    assert!(code == 503 && message.starts_with("error trying to reach service: "), "{message}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn nodes_answer_through_the_agents_own_port() {
    let cluster = Cluster::start().await;
    let address = agent::node(&cluster).await;
    for name in ["n1".to_owned(), format!("n1:{}", address.port())] {
        let (code, said) = cluster.get(&format!("/api/v1/nodes/{name}/proxy/metrics")).await;
        assert_eq!((code, said), (200, json!("agent GET /metrics")));
    }
    let (code, _) = cluster.get("/api/v1/nodes/n1:22/proxy/").await;
    assert_eq!(code, 400, "this machine's own ports are out of bounds");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn upgrades_go_through_a_service() {
    let cluster = Cluster::start().await;
    agent::node(&cluster).await;
    let port = backend().await;
    agent::pod(&cluster, "p", port).await;
    agent::service(&cluster, "p", 80, port).await;
    let mut config =
        pki::client_tls_config(cluster.handle.pki.ca_pem(), Some(cluster.handle.pki.admin()))
            .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(cluster.handle.addresses[0]).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream =
        connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = Request::builder()
        .uri("/api/v1/namespaces/default/services/p:web/proxy/socket")
        .header("host", "x")
        .header("connection", "Upgrade")
        .header("upgrade", "echo")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
    drop(stream);
    cluster.handle.shutdown().await;
}
