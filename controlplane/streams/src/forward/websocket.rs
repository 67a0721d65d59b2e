//! Connections as pairs of WebSocket channels: the n-th port has channel 2n for data and 2n+1 for errors, and each
//! begins with the port as two bytes, low one first. One connection for each port.
//! (upstream `cri-streaming/pkg/streaming/portforward/websocket.go`)

use bytes::{Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Message, protocol::Role};
use tokio_util::sync::CancellationToken;

use super::{BUFFER_BYTES, Connection, DuplexStream, ErrorSender};
use crate::{
    negotiate::Coding,
    websocket::{LINGER, decode, encode, open},
};

/// Messages that wait to be sent.
const OUTGOING_MAX: usize = 32;
/// Pieces that wait for one connection.
const PIECES_MAX: usize = 16;
const READ_BYTES: usize = 32 << 10;

/// Starts the tasks and hands out a connection for each port.
pub(super) async fn serve<T>(
    io: T,
    coding: Coding,
    ports: &[u16],
    to: mpsc::Sender<Connection>,
    closed: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut source) = open(io, Role::Server).await.split();
    let (outgoing, mut messages) = mpsc::channel::<Message>(OUTGOING_MAX);
    let (mut inputs, mut connections, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
    for (port, channel) in ports.iter().zip((0u8..).step_by(2)) {
        let (connection, pieces) = connect(*port, (coding, channel), &outgoing, &mut tasks);
        inputs.push(Some(pieces));
        connections.push(connection);
    }
    drop(outgoing);
    let reader = async move {
        while let Some(Ok(message)) = source.next().await {
            let Some((channel, data)) = decode(coding, message) else { continue };
            let Some(input) = inputs.get_mut(usize::from(channel / 2)) else { continue };
            if channel % 2 == 0
                && let Some(pieces) = input
                && pieces.send(data).await.is_err()
            {
                *input = None;
            }
        }
    };
    tokio::spawn(async move {
        for connection in connections {
            // A caller that does not want it drops it, which ends it.
            let _ = to.send(connection).await;
        }
        let reader = tokio::spawn(reader);
        let abort = reader.abort_handle();
        let writer = async {
            while let Some(message) = messages.recv().await {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            // A client that is gone needs no farewell.
            let _ = sink.send(Message::Close(None)).await;
        };
        tokio::pin!(reader);
        tokio::select! {
            // The client has gone: the connections end with their tasks.
            _ = &mut reader => {}
            // Every connection has ended.
            () = writer => {
                // A client that does not close is cut off below.
                let _ = timeout(LINGER, reader).await;
            }
        }
        abort.abort();
        tasks.shutdown().await;
        closed.cancel();
        // Only now does the caller see the end of the connections.
        drop(to);
    });
}

fn connect(
    port: u16,
    (coding, channel): (Coding, u8),
    outgoing: &mpsc::Sender<Message>,
    tasks: &mut JoinSet<()>,
) -> (Connection, mpsc::Sender<Bytes>) {
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let (from_pod, to_pod) = tokio::io::split(far);
    let (error, text) = ErrorSender::new();
    let (pieces, input) = mpsc::channel(PIECES_MAX);
    tasks.spawn(pass_input(input, to_pod));
    let output = Output { coding, channel, outgoing: outgoing.clone() };
    tasks.spawn(output.run(port, from_pod, text));
    (Connection { port, data: near, error }, pieces)
}

async fn pass_input(mut input: mpsc::Receiver<Bytes>, mut to_pod: WriteHalf<DuplexStream>) {
    while let Some(data) = input.recv().await {
        if to_pod.write_all(&data).await.is_err() {
            return;
        }
    }
    // The pod may have closed already.
    let _ = to_pod.shutdown().await;
}

struct Output {
    coding: Coding,
    channel: u8,
    outgoing: mpsc::Sender<Message>,
}

impl Output {
    async fn run(
        self,
        port: u16,
        mut from_pod: ReadHalf<DuplexStream>,
        text: oneshot::Receiver<String>,
    ) {
        let port = port.to_le_bytes();
        if !self.send(self.channel, &port).await || !self.send(self.channel + 1, &port).await {
            return;
        }
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        while matches!(from_pod.read_buf(&mut buffer).await, Ok(1..)) {
            if !self.send(self.channel, &buffer.split()).await {
                return;
            }
            buffer.reserve(READ_BYTES);
        }
        if let Ok(text) = text.await {
            self.send(self.channel + 1, text.as_bytes()).await;
        }
    }

    /// Whether the client still takes messages.
    async fn send(&self, channel: u8, data: &[u8]) -> bool {
        self.outgoing.send(encode(self.coding, channel, data)).await.is_ok()
    }
}
