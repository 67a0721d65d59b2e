//! Requests over a few HTTP/2 connections with the administrator's certificate.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

use super::server::Server;

/// Connections that requests are spread over; one alone would be bound by its own windows.
const CONNECTIONS: usize = 8;
/// How much a connection may hold of what was not read yet.
const WINDOW_BYTES: u32 = 16 << 20;

type Sender = SendRequest<Full<Bytes>>;

/// Connections to the server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    senders: Arc<Vec<Sender>>,
    next: Arc<AtomicUsize>,
    authority: String,
}

/// A request that is made many times.
#[derive(Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub content: &'static str,
    pub body: Bytes,
}

impl Asked {
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), content: "", body: Bytes::new() }
    }

    #[must_use]
    pub fn with(
        method: Method,
        path: impl Into<String>,
        content: &'static str,
        body: &serde_json::Value,
    ) -> Self {
        Self { method, path: path.into(), content, body: body.to_string().into() }
    }
}

impl Client {
    pub async fn connect(server: &Server) -> Result<Self> {
        let mut senders = Vec::new();
        for _ in 0..CONNECTIONS {
            senders.push(open(server).await?);
        }
        Ok(Self {
            senders: Arc::new(senders),
            next: Arc::default(),
            authority: server.address.to_string(),
        })
    }

    /// Sends on the next connection; the answer's body is still to be read.
    pub async fn start(&self, asked: &Asked) -> Result<Response<Incoming>> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.senders.len();
        let mut request = Request::builder()
            .method(asked.method.clone())
            .uri(format!("https://{}{}", self.authority, asked.path))
            .header("accept", "application/json");
        if !asked.content.is_empty() {
            request = request.header("content-type", asked.content);
        }
        let request = request.body(Full::new(asked.body.clone()))?;
        let mut sender = self.senders[at].clone();
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    /// Sends and reads to the end; fails unless it succeeded. How many bytes came.
    pub async fn finish(&self, asked: &Asked) -> Result<usize> {
        let response = self.start(asked).await?;
        let code = response.status();
        let mut body = response.into_body();
        let mut size = 0;
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                size += data.len();
                if !code.is_success() {
                    text.extend_from_slice(&data);
                }
            }
        }
        ensure!(
            code.is_success(),
            "{} {}: {code} {}",
            asked.method,
            asked.path,
            String::from_utf8_lossy(&text)
        );
        Ok(size)
    }

    /// Makes `count` requests, `in_flight` at a time. How long each took, in seconds.
    pub async fn many(
        &self,
        count: usize,
        in_flight: usize,
        make: impl Fn(usize) -> Asked + Send + Sync + 'static,
    ) -> Result<Vec<f64>> {
        let (next, make) = (Arc::new(AtomicUsize::new(0)), Arc::new(make));
        let mut workers = JoinSet::new();
        for _ in 0..in_flight {
            let (client, next, make) = (self.clone(), next.clone(), make.clone());
            workers.spawn(async move { client.work(count, &next, &*make).await });
        }
        let mut all = Vec::with_capacity(count);
        while let Some(worker) = workers.join_next().await {
            all.extend(worker.context("a worker panicked")??);
        }
        Ok(all)
    }

    fn work<'a>(
        &'a self,
        count: usize,
        next: &'a AtomicUsize,
        make: &'a (dyn Fn(usize) -> Asked + Send + Sync),
    ) -> impl Future<Output = Result<Vec<f64>>> + Send + 'a {
        async move {
            let mut took = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok(took);
                }
                let asked = make(index);
                let started = Instant::now();
                self.finish(&asked).await?;
                took.push(started.elapsed().as_secs_f64());
            }
        }
    }
}

async fn open(server: &Server) -> Result<Sender> {
    let pki = server.data.join("pki");
    let read =
        |name: &str| std::fs::read_to_string(pki.join(name)).with_context(|| name.to_owned());
    let identity =
        access::pki::Identity { cert_pem: read("admin.crt")?, key_pem: read("admin.key")? };
    let mut tls = access::pki::client_tls_config(&read("ca.crt")?, Some(&identity))?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(server.address).await?;
    stream.set_nodelay(true)?;
    let name = rustls::pki_types::ServerName::IpAddress(server.address.ip().into());
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Whether `/readyz` answers 200.
pub async fn is_ready(server: &Server) -> bool {
    let ask = async {
        let mut sender = open(server).await?;
        let request =
            Request::get(format!("https://{}/readyz", server.address)).body(Full::default())?;
        let code = sender.send_request(request).await?.status();
        if code.is_success() { Ok(()) } else { bail!("{code}") }
    };
    ask.await.is_ok()
}
