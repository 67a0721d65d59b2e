//! Sockets: UDP and TCP on every address, bounded work, one reply per query.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::answer::{self, Decision};
use crate::forward;
use crate::records::Records;
use crate::{Config, Error};

/// Queries waiting for upstream at once.
const FORWARDS_MAX: usize = 1024;
/// TCP connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// How long a TCP connection may say nothing (RFC 7766 leaves it to the server).
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const UDP_QUERY_BYTES_MAX: usize = 4096;

/// Sockets that are bound.
pub struct Listening {
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
}

struct Shared {
    upstream: Vec<SocketAddr>,
    records: watch::Receiver<Arc<Records>>,
    forwards: Semaphore,
}

impl Shared {
    fn decide(&self, query: &Message) -> Decision {
        let records = self.records.borrow().clone();
        answer::answer(&records, query)
    }
}

/// Binds every address for UDP and TCP.
pub async fn bind(config: &Config) -> Result<Listening, Error> {
    let mut listening = Listening { udp: Vec::new(), tcp: Vec::new() };
    for address in config.listen.iter().copied() {
        let failed = |source| Error::Listen { address, source };
        let mut bound = bind_both(address).await;
        for _ in 1..FREE_PORT_TRIES {
            let taken = matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
            if address.port() != 0 || !taken {
                break;
            }
            bound = bind_both(address).await;
        }
        let (udp, tcp) = bound.map_err(failed)?;
        listening.tcp.push(tcp);
        listening.udp.push(udp);
    }
    Ok(listening)
}

/// Tries to find a port that is free for UDP and for TCP, when any port will do (port 0).
const FREE_PORT_TRIES: usize = 16;

async fn bind_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind(address).await?;
    let tcp = TcpListener::bind(udp.local_addr()?).await?;
    Ok((udp, tcp))
}

/// Answers until it is dropped. Addresses of our own are never asked as upstream.
pub async fn serve(
    listening: Listening,
    upstream: Vec<SocketAddr>,
    records: watch::Receiver<Arc<Records>>,
) {
    let own: Vec<SocketAddr> =
        listening.udp.iter().filter_map(|socket| socket.local_addr().ok()).collect();
    let upstream = upstream.into_iter().filter(|server| !own.contains(server)).collect();
    let forwards = Semaphore::new(FORWARDS_MAX);
    let shared = Arc::new(Shared { upstream, records, forwards });
    let mut tasks = JoinSet::new();
    for socket in listening.udp {
        tasks.spawn(serve_udp(Arc::new(socket), shared.clone()));
    }
    for listener in listening.tcp {
        tasks.spawn(serve_tcp(listener, shared.clone()));
    }
    tasks.join_all().await;
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut forwards = JoinSet::new();
    let mut buffer = vec![0; UDP_QUERY_BYTES_MAX];
    loop {
        while forwards.try_join_next().is_some() {}
        // Errors are those of earlier sends (unreachable client): they say nothing of the next query.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(query) = read(&buffer[..length]) else { continue };
        let decision = shared.decide(&query);
        match decision {
            Decision::Reply(reply) => {
                let _ = socket.send_to(&encode(&query, &reply, true), client).await;
            }
            decision => {
                let (socket, shared) = (socket.clone(), shared.clone());
                if forwards.len() >= FORWARDS_MAX {
                    let reply = answer::failure(&query, ResponseCode::ServFail);
                    let _ = socket.send_to(&encode(&query, &reply, true), client).await;
                    continue;
                }
                forwards.spawn(async move {
                    let reply = carry_out(decision, &query, &shared).await;
                    let _ = socket.send_to(&encode(&query, &reply, true), client).await;
                });
            }
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve_connection(stream, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Ok(Some(bytes)) = tokio::time::timeout(IDLE_TIMEOUT, read_framed(&mut stream)).await {
        let Some(query) = read(&bytes) else { return };
        let decision = shared.decide(&query);
        let reply = encode(&query, &carry_out(decision, &query, &shared).await, false);
        let Ok(length) = u16::try_from(reply.len()) else { return };
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        let written = tokio::time::timeout(IDLE_TIMEOUT, stream.write_all(&framed)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read_framed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

async fn carry_out(decision: Decision, query: &Message, shared: &Shared) -> Message {
    match decision {
        Decision::Reply(reply) => reply,
        Decision::Forward if shared.upstream.is_empty() => {
            answer::failure(query, ResponseCode::Refused)
        }
        Decision::Forward => match ask(query, shared).await {
            Some(reply) => reply,
            None => answer::failure(query, ResponseCode::ServFail),
        },
        Decision::Chase { mut reply, target } => {
            let kind = query.queries[0].query_type();
            let mut further = Message::query();
            further.metadata.recursion_desired = true;
            further.add_query(Query::query(target, kind));
            if let Some(answer) = ask(&further, shared).await {
                reply.answers.extend(answer.answers.iter().cloned());
                reply.metadata.response_code = answer.response_code;
            }
            reply
        }
    }
}

async fn ask(query: &Message, shared: &Shared) -> Option<Message> {
    let _place = shared.forwards.try_acquire().ok()?;
    forward::ask(&shared.upstream, query).await
}

/// A query, or a message for whose sender there is no answer. Unreadable queries get FORMERR.
fn read(bytes: &[u8]) -> Option<Message> {
    if let Ok(message) = Message::from_vec(bytes) {
        // Answering answers would let two servers talk for ever.
        return (message.message_type == hickory_proto::op::MessageType::Query).then_some(message);
    }
    let id = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    let is_query = bytes.get(2)? & 0x80 == 0;
    // Without a question `answer` says FORMERR.
    let empty = Message::new(id, hickory_proto::op::MessageType::Query, OpCode::Query);
    is_query.then_some(empty)
}

fn encode(query: &Message, reply: &Message, udp: bool) -> Vec<u8> {
    let bytes = reply.to_vec().unwrap_or_default();
    if udp && bytes.len() > answer::udp_limit(query) {
        return reply.truncate().to_vec().unwrap_or_default();
    }
    bytes
}
