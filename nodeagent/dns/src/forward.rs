//! Asks upstream servers: UDP first, TCP when the answer does not fit.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Wait for one server before the next is asked.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const UDP_BUFFER_BYTES: usize = 4096;

/// The first valid answer, with the query's id. `None` when no server gave one.
pub async fn ask(upstream: &[SocketAddr], query: &Message) -> Option<Message> {
    for server in upstream {
        match tokio::time::timeout(SERVER_TIMEOUT, ask_one(*server, query)).await {
            Ok(Ok(mut answer)) => {
                answer.metadata.id = query.id;
                return Some(answer);
            }
            Ok(Err(error)) => tracing::debug!(%server, %error, "upstream DNS failed"),
            Err(_) => tracing::debug!(%server, "upstream DNS timed out"),
        }
    }
    None
}

async fn ask_one(server: SocketAddr, query: &Message) -> io::Result<Message> {
    let mut query = query.clone();
    // An id of our own: a guest must not choose what an attacker has to guess.
    query.metadata.id = rand::random();
    let bytes = query.to_vec().map_err(io::Error::other)?;
    let answer = over_udp(server, &query, &bytes).await?;
    if answer.truncation { over_tcp(server, &query, &bytes).await } else { Ok(answer) }
}

async fn over_udp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; UDP_BUFFER_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else is a late or forged answer: the right one may still come.
        if let Some(answer) = matching(query, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    matching(query, &buffer).ok_or_else(|| io::Error::other("the answer is to another question"))
}

fn matching(query: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let ours = answer.id == query.id
        && answer.message_type == MessageType::Response
        && answer.queries == query.queries;
    ours.then_some(answer)
}
