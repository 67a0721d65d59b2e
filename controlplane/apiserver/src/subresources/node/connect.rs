//! One connection to a node agent or to a backend.

use std::{net::SocketAddr, time::Duration};

use api::{Reason, Status};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{app::App, respond::BoxError};

/// How long an agent may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Who is called.
#[derive(Debug, Clone)]
pub enum Peer {
    /// A node agent over TLS with our client certificate.
    Agent(SocketAddr),
    /// A backend over plain TCP.
    Plain(SocketAddr),
}

impl Peer {
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Agent(address) | Self::Plain(address) => *address,
        }
    }
}

pub type Sender = SendRequest<UnsyncBoxBody<Bytes, BoxError>>;

/// Connects; the connection is driven in the background and allows upgrades.
pub async fn connect(app: &App, peer: &Peer) -> Result<Sender, Status> {
    let attempt = tokio::time::timeout(CONNECT_MAX, open(app, peer)).await;
    match attempt {
        Ok(Ok(sender)) => Ok(sender),
        Ok(Err(error)) => Err(unreachable(peer, &error.to_string())),
        Err(_) => Err(unreachable(peer, "i/o timeout")),
    }
}

/// Worded as Go's dial errors, which people search for.
fn unreachable(peer: &Peer, error: &str) -> Status {
    let message = format!("error dialing backend: dial tcp {}: {error}", peer.address());
    Status::new(Reason::InternalError, message)
}

async fn open(app: &App, peer: &Peer) -> Result<Sender, BoxError> {
    let stream = TcpStream::connect(peer.address()).await?;
    stream.set_nodelay(true)?;
    match peer {
        Peer::Plain(_) => handshake(stream).await,
        Peer::Agent(address) => {
            let connector = tokio_rustls::TlsConnector::from(app.node_tls.clone());
            let name = ServerName::IpAddress(address.ip().into());
            handshake(connector.connect(name, stream).await?).await
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Sender, BoxError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a backend connection ended");
        }
    });
    Ok(sender)
}
