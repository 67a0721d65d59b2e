//! Port-forward: joins a client's stream to a TCP port on the pod's loopback.

use std::net::{Ipv4Addr, Ipv6Addr};

use proto::guest::ForwardData;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

/// Messages on the way to one client.
const QUEUE_MAX: usize = 8;
/// Bytes of one message.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

pub type Replies = mpsc::Receiver<Result<ForwardData, Status>>;

/// Connects to the port that the first message names.
pub async fn forward<S>(mut input: S) -> Result<Replies, Status>
where
    S: Stream<Item = Result<ForwardData, Status>> + Send + Unpin + 'static,
{
    let first = input.next().await.transpose()?;
    let first = first.ok_or_else(|| Status::invalid_argument("no port was named"))?;
    let port = u16::try_from(first.port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| Status::invalid_argument(format!("no TCP port: {}", first.port)))?;
    let connection = connect(port).await?;
    let (read, mut write) = connection.into_split();
    let (send, replies) = mpsc::channel(QUEUE_MAX);
    let up = tokio::spawn(async move {
        // The port may come with data.
        if write.write_all(&first.data).await.is_ok() {
            feed(input, &mut write).await;
        }
    });
    tokio::spawn(async move {
        drain(read, &send).await;
        up.abort();
    });
    Ok(replies)
}

async fn connect(port: u16) -> Result<TcpStream, Status> {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(connection) => Ok(connection),
        Err(v4) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| {
            Status::unavailable(format!("connect to 127.0.0.1:{port} inside the pod: {v4}"))
        }),
    }
}

async fn feed<S>(mut input: S, write: &mut OwnedWriteHalf)
where
    S: Stream<Item = Result<ForwardData, Status>> + Unpin,
{
    while let Some(Ok(message)) = input.next().await {
        if write.write_all(&message.data).await.is_err() {
            return;
        }
    }
    let _ = write.shutdown().await;
}

async fn drain(mut read: OwnedReadHalf, send: &mpsc::Sender<Result<ForwardData, Status>>) {
    loop {
        let mut data = vec![0; MESSAGE_BYTES_MAX];
        let length = tokio::select! {
            biased;
            // First: when the client left, the connection is dropped.
            () = send.closed() => return,
            length = read.read(&mut data) => length.unwrap_or(0),
        };
        if length == 0 {
            return;
        }
        data.truncate(length);
        if send.send(Ok(ForwardData { port: 0, data: data.into() })).await.is_err() {
            return;
        }
    }
}
