//! The stand-in's own requests to the server: a connection each, as the administrator.

use std::{net::SocketAddr, sync::Arc};

use access::pki::{self, Pki};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest line of a watch.
const LINE_BYTES_MAX: usize = 4 << 20;

#[derive(Clone)]
pub struct Client {
    server: SocketAddr,
    tls: TlsConnector,
}

impl Client {
    pub fn new(server: SocketAddr, pki: &Pki) -> Result<Self> {
        let tls = pki::client_tls_config(pki.ca_pem(), Some(pki.admin()))?;
        Ok(Self { server, tls: TlsConnector::from(Arc::new(tls)) })
    }

    async fn open(
        &self,
        method: &str,
        path: &str,
        media: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.server).await.context("failed to connect")?;
        let name = ServerName::IpAddress(self.server.ip().into());
        let stream = self.tls.connect(name, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.server.to_string())
            .header("content-type", media)
            .header("accept", "application/json")
            .header("user-agent", "wire-node")
            .body(Full::new(Bytes::from(body)))?;
        Ok(sender.send_request(request).await?)
    }

    /// One request; the answer as JSON. Anything but success is an error with the server's words.
    pub async fn send(&self, method: &str, path: &str, media: &str, body: &Value) -> Result<Value> {
        let response = self
            .open(method, path, media, body.to_string().into_bytes())
            .await
            .with_context(|| format!("{method} {path}"))?;
        let code = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        ensure!(code.is_success(), "{method} {path}: {code} {text}");
        serde_json::from_slice(&bytes).with_context(|| format!("{method} {path}: {text}"))
    }

    /// A watch that begins with what is there.
    pub async fn watch(&self, path: &str) -> Result<Events> {
        let path = format!(
            "{path}&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        );
        let response = self.open("GET", &path, "application/json", Vec::new()).await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(Events { body: response.into_body(), rest: Vec::new() })
    }
}

/// The lines of a watch.
pub struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

impl Events {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            ensure!(self.rest.len() < LINE_BYTES_MAX, "an event is too long");
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
