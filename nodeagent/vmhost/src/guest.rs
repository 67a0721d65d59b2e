//! gRPC to a guest's PID 1 over hybrid vsock (a unix socket, "CONNECT <port>").

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::guest::guest_client::GuestClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{Error, GUEST_PORT};

/// Longest answer to "CONNECT": "OK <u32>\n".
const ANSWER_MAX: usize = 32;
/// A guest that is there answers at once; generous for software emulation.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest message taken from a guest, which is hostile.
pub const MESSAGE_MAX: usize = 4 << 20;

/// Connects to the guest behind this vsock socket.
pub async fn connect(socket: &Path) -> Result<GuestClient<Channel>, Error> {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| dial(path.clone()));
    let endpoint = Endpoint::from_static("http://guest.invalid").connect_timeout(CONNECT_TIMEOUT);
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|source| Error::Connect { source })?;
    Ok(GuestClient::new(channel).max_decoding_message_size(MESSAGE_MAX))
}

async fn dial(path: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(format!("CONNECT {GUEST_PORT}\n").as_bytes()).await?;
    let answer = read_line(&mut stream, ANSWER_MAX).await?;
    if !answer.starts_with("OK ") {
        return Err(io::Error::other(format!("vsock answered {answer:?}")));
    }
    Ok(TokioIo::new(stream))
}

/// Reads up to and without a newline, byte by byte: what follows belongs to someone else.
pub async fn read_line(stream: &mut UnixStream, max: usize) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        let byte = stream.read_u8().await?;
        if byte == b'\n' {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        if line.len() == max {
            return Err(io::Error::other("line too long"));
        }
        line.push(byte);
    }
}
