//! Connections as pairs of SPDY streams, `error` and `data`, that carry the same `requestID`.
//! (upstream `cri-streaming/pkg/streaming/portforward/httpstream.go`)

use std::collections::HashMap;

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{BUFFER_BYTES, Connection, ErrorSender};
use crate::spdy::{Role, Session, Stream, StreamReader, StreamWriter};

/// Error streams that wait for their data stream.
const UNPAIRED_MAX: usize = 64;
const READ_BYTES: usize = 32 << 10;

/// Starts the task that pairs streams.
pub(super) fn serve<T>(io: T, to: mpsc::Sender<Connection>, closed: CancellationToken)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (session, mut accepted) = Session::start(io, Role::Server);
    tokio::spawn(async move {
        let mut pairs = Pairs::default();
        while let Some(stream) = accepted.recv().await {
            if let Some((port, error, data)) = pairs.add(stream).await
                && to.send(connect(port, error, data)).await.is_err()
            {
                // The caller wants no more.
                break;
            }
        }
        session.close().await;
        closed.cancel();
    });
}

/// Streams whose partner has not come yet.
#[derive(Default)]
struct Pairs {
    waiting: HashMap<String, Stream>,
}

impl Pairs {
    /// Port, error stream and data stream, when `stream` completes a pair.
    async fn add(&mut self, stream: Stream) -> Option<(u16, Stream, Stream)> {
        let Some(key) = key_of(&stream) else {
            refuse(&stream).await;
            return None;
        };
        let Some(first) = self.waiting.remove(&key) else {
            if self.waiting.len() < UNPAIRED_MAX {
                self.waiting.insert(key, stream);
            } else {
                refuse(&stream).await;
            }
            return None;
        };
        let is_error = |stream: &Stream| stream.headers.get("streamtype") == Some("error");
        let (error, data) = match (is_error(&first), is_error(&stream)) {
            (true, false) => (first, stream),
            (false, true) => (stream, first),
            _ => {
                refuse(&stream).await;
                return None;
            }
        };
        let port =
            data.headers.get("port").and_then(|text| text.parse().ok()).filter(|port| *port != 0);
        if port.is_none() {
            let _ = error.writer.write("invalid port".into()).await;
            let _ = error.writer.finish().await;
            refuse(&data).await;
        }
        Some((port?, error, data))
    }
}

/// What pairs a stream with its partner. Old clients send no id; their data stream comes right after the error stream.
fn key_of(stream: &Stream) -> Option<String> {
    let kind = stream.headers.get("streamtype")?;
    if let Some(id) = stream.headers.get("requestid") {
        return matches!(kind, "error" | "data").then(|| format!("id {id}"));
    }
    match kind {
        "error" => Some(format!("stream {}", stream.id())),
        "data" => Some(format!("stream {}", stream.id().checked_sub(2)?)),
        _ => None,
    }
}

async fn refuse(stream: &Stream) {
    // The connection may be ending already.
    let _ = stream.writer.reset().await;
}

fn connect(port: u16, error: Stream, data: Stream) -> Connection {
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let (sender, text) = ErrorSender::new();
    tokio::spawn(async move {
        carry(data.reader, data.writer, far).await;
        report(&error.writer, text).await;
    });
    Connection { port, data: near, error: sender }
}

/// Copies both ways until both have ended, or the client resets the stream.
async fn carry(mut reader: StreamReader, writer: StreamWriter, far: DuplexStream) {
    let (mut from_pod, mut to_pod) = tokio::io::split(far);
    let to_client = async {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        while matches!(from_pod.read_buf(&mut buffer).await, Ok(1..)) {
            if writer.write(buffer.split().freeze()).await.is_err() {
                return;
            }
            buffer.reserve(READ_BYTES);
        }
        // A client that is gone needs no end.
        let _ = writer.finish().await;
    };
    let to_pod = async {
        while let Some(data) = reader.read().await {
            if to_pod.write_all(&data).await.is_err() {
                return;
            }
        }
        // The pod may have closed already.
        let _ = to_pod.shutdown().await;
    };
    tokio::pin!(to_pod);
    tokio::select! {
        biased;
        // With the stream reset or the client gone, both halves drop and the pod's side sees it.
        () = writer.closed() => {}
        // The pod has closed: what the client still sends has no reader.
        () = to_client => {}
        () = async { to_pod.await; std::future::pending::<()>().await } => {}
    }
}

async fn report(error: &StreamWriter, text: oneshot::Receiver<String>) {
    if let Ok(text) = text.await {
        let _ = error.write(text.into()).await;
    }
    // A client that is gone reads no errors.
    let _ = error.finish().await;
}
