//! One connection to a port of a pod as a SPDY port-forward of its node's agent: the client's side of what crate
//! `streams` serves.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use streams::spdy::{Headers, Role, Session, Stream};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
};

use super::connect::BoxStream;

/// What is held in each direction, in bytes.
const BUFFER_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 32 << 10;
/// How long the agent's reason is waited for after its data ended.
const REASON_MAX: Duration = Duration::from_secs(1);
/// How much of an agent's refusal is read.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// A byte stream into a pod. Reads fail with the agent's reason when the connection could not be made.
pub struct Tunnel {
    near: DuplexStream,
    reason: Arc<Mutex<Option<String>>>,
}

/// Upgrades a connection to a node's agent and opens one stream to `port` of the pod.
pub async fn open(
    agent: BoxStream,
    address: SocketAddr,
    namespace: &str,
    pod: &str,
    port: u16,
) -> Result<Tunnel, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(agent))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(format!("/portForward/{namespace}/{pod}"))
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header("x-stream-protocol-version", "portforward.k8s.io")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let code = response.status();
        let body = http_body_util::Limited::new(response.into_body(), REFUSAL_BYTES_MAX);
        let text =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        return Err(format!("{code}: {}", String::from_utf8_lossy(&text).trim()));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| error.to_string())?;
    let (session, _accepted) = Session::start(TokioIo::new(upgraded), Role::Client);
    let headers = |kind: &str| {
        Headers::of(&[("streamType", kind), ("port", &port.to_string()), ("requestID", "0")])
    };
    let error = session.open(headers("error")).await.map_err(|error| error.to_string())?;
    let data = session.open(headers("data")).await.map_err(|error| error.to_string())?;
    // Nothing is ever sent on the error stream.
    let _ = error.writer.finish().await;
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let reason = Arc::<Mutex<Option<String>>>::default();
    tokio::spawn(carry(session, error, data, far, reason.clone()));
    Ok(Tunnel { near, reason })
}

async fn carry(
    session: Session,
    mut error: Stream,
    mut data: Stream,
    far: DuplexStream,
    reason: Arc<Mutex<Option<String>>>,
) {
    let (mut from_near, mut to_near) = tokio::io::split(far);
    let writer = data.writer.clone();
    let outbound = async {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        while matches!(from_near.read_buf(&mut buffer).await, Ok(1..)) {
            if writer.write(buffer.split().freeze()).await.is_err() {
                return;
            }
            buffer.reserve(READ_BYTES);
        }
        // An agent that is gone needs no end.
        let _ = writer.finish().await;
        std::future::pending::<()>().await;
    };
    let inbound = async {
        while let Some(piece) = data.reader.read().await {
            if to_near.write_all(&piece).await.is_err() {
                return;
            }
        }
        if let Ok(Some(text)) = tokio::time::timeout(REASON_MAX, error.reader.read()).await {
            *reason.lock() = Some(String::from_utf8_lossy(&text).into_owned());
        }
        // The near side may be gone already.
        let _ = to_near.shutdown().await;
    };
    tokio::select! {
        () = inbound => {}
        () = outbound => {}
    }
    session.close().await;
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.near).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(())))
            && buffer.filled().len() == before
            && buffer.remaining() > 0
            && let Some(text) = self.reason.lock().take()
        {
            return Poll::Ready(Err(io::Error::other(text)));
        }
        read
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.near).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_shutdown(cx)
    }
}
