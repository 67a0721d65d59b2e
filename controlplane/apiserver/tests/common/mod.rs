//! A server in this process, and raw HTTP to it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part; a failed step fails the test"
)]

pub mod agent;
pub mod backend;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use apiserver::{Config, Handle, Server};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// How long anything may take: machines that run tests are busy.
const DEADLINE: Duration = Duration::from_secs(180);

/// Objects of a collection by name.
pub type Objects = BTreeMap<String, Value>;

/// A running server and its folder.
pub struct Cluster {
    pub handle: Handle,
    pub _folder: TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With settings of the test's own.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::new(folder.path().to_owned(), vec![listen], listen.ip());
        change(&mut config);
        let handle = Server::start(config).await.unwrap();
        Self { handle, _folder: folder }
    }

    /// A kube client with the administrator's identity.
    pub async fn client(&self) -> kube::Client {
        let kubeconfig =
            kube::config::Kubeconfig::read_from(&self.handle.admin_kubeconfig).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }

    /// Sends one request as the administrator over its own connection.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let admin = self.handle.pki.admin().clone();
        self.send_as(Some(&admin), method, path, headers, body).await
    }

    /// Sends one request with a client certificate, or without any.
    pub async fn send_as(
        &self,
        identity: Option<&access::pki::Identity>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut config =
            access::pki::client_tls_config(self.handle.pki.ca_pem(), identity).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.handle.addresses[0]).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("{}{path}", self.handle.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
    }

    /// Sends JSON and reads JSON: code, headers, body.
    pub async fn json(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, HeaderMap, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.json_text(method, path, headers, &text).await
    }

    /// The same with a body in its own words.
    pub async fn json_text(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, HeaderMap, Value) {
        let response = self.send(method, path, headers, body.to_owned()).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        (parts.status.as_u16(), parts.headers, value)
    }

    /// Code and body of a request with a bearer token ("" is anonymous).
    pub async fn with_token(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let headers = if token.is_empty() { &headers[1..] } else { &headers[..] };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.send_as(None, method, path, headers, text).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        (parts.status.as_u16(), value)
    }

    /// Asks again until the answer is as wanted; panics after three minutes.
    pub async fn until(&self, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let (code, value) = self.get(path).await;
            if wanted(code, &value) {
                return value;
            }
            assert!(tokio::time::Instant::now() < end, "{path}: {code} {value}");
            tokio::task::yield_now().await;
        }
    }

    /// Watches a collection (`path` may have selectors) until its objects are as wanted.
    pub async fn follow(&self, path: &str, wanted: impl Fn(&Objects) -> bool) -> Objects {
        let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let join = if path.contains('?') { '&' } else { '?' };
        let watch = format!("{path}{join}{query}");
        let mut events = Events::new(self.send("GET", &watch, &[], "").await);
        let (mut objects, mut listed) = (Objects::new(), false);
        let seen = async {
            while !(listed && wanted(&objects)) {
                let event = events.next().await.expect("the watch goes on");
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
                match event["type"].as_str().unwrap() {
                    "BOOKMARK" => listed = true,
                    "DELETED" => drop(objects.remove(name)),
                    _ => drop(objects.insert(name.to_owned(), event["object"].clone())),
                }
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, seen).await.is_ok();
        assert!(in_time, "{path}: {objects:#?}");
        objects
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let (code, _, value) = self.json("GET", path, &[], &Value::Null).await;
        (code, value)
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (code, _, value) = self.json("POST", path, &[], body).await;
        (code, value)
    }
}

/// Reads one watch event (a line of JSON) from a body.
pub struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

impl Events {
    pub fn new(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), rest: Vec::new() }
    }

    /// The next event; `None` at the end of the watch. Panics after three minutes without any.
    pub async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(DEADLINE, self.next_ever()).await.unwrap()
    }

    /// The next event, whenever it comes.
    pub async fn next_ever(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            match self.body.frame().await {
                Some(frame) => self.rest.extend_from_slice(frame.unwrap().data_ref().unwrap()),
                None => return None,
            }
        }
    }

    /// The next event's type and the object's name.
    pub async fn brief(&mut self) -> String {
        let event = self.next().await.unwrap();
        format!(
            "{} {}",
            event["type"].as_str().unwrap(),
            event["object"]["metadata"]["name"].as_str().unwrap_or("-")
        )
    }
}
