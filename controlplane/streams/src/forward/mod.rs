//! Port-forward: any number of connections to ports of one pod over one upgraded connection.

mod spdy;
mod websocket;

use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Refusal, forward_ports,
    negotiate::{self, FORWARD_SOCKETS, FORWARD_SPDY, FORWARD_SPDY_NAMES, Offer, Transport},
    websocket::{open, tunnel},
};

/// Connections that wait to be taken.
const CONNECTIONS_MAX: usize = 16;
/// What is held for each connection in each direction, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

const OFFER: Offer =
    Offer { sockets: FORWARD_SOCKETS, spdy: FORWARD_SPDY, spdy_names: FORWARD_SPDY_NAMES };

/// The connections a client makes.
pub struct PortForward {
    /// Ends when the client has gone.
    pub connections: mpsc::Receiver<Connection>,
    /// Cancelled when the client has gone.
    pub closed: CancellationToken,
}

/// One connection to a port of the pod.
pub struct Connection {
    pub port: u16,
    /// Ends when the client has sent all; shut it down (or drop it) when the pod has.
    pub data: DuplexStream,
    pub error: ErrorSender,
}

/// Tells the client why a connection failed. Dropped, it says that it did not.
pub struct ErrorSender {
    text: Option<oneshot::Sender<String>>,
}

impl ErrorSender {
    fn new() -> (Self, oneshot::Receiver<String>) {
        let (sender, receiver) = oneshot::channel();
        (Self { text: Some(sender) }, receiver)
    }

    /// Drop the connection's data after this.
    pub fn fail(mut self, text: impl Into<String>) {
        if let Some(sender) = self.text.take() {
            // A client that is gone does not ask.
            let _ = sender.send(text.into());
        }
    }
}

/// A port-forward whose connection is still being upgraded.
pub struct PendingForward {
    upgrade: OnUpgrade,
    transport: Transport,
    ports: Vec<u16>,
}

/// Agrees to a port-forward. Send the response, then [`PendingForward::start`] in a task of its own.
pub fn accept_forward<B>(
    request: &mut Request<B>,
) -> Result<(Response<()>, PendingForward), Refusal> {
    let (response, transport) = negotiate::agree(request, OFFER)?;
    // SPDY clients name the port with each stream.
    let ports = match transport {
        Transport::WebSocket { .. } => forward_ports(request.uri().query().unwrap_or_default())?,
        Transport::Spdy { .. } | Transport::Tunnel => Vec::new(),
    };
    let upgrade = hyper::upgrade::on(request);
    Ok((response, PendingForward { upgrade, transport, ports }))
}

impl PendingForward {
    /// Waits for the upgrade.
    pub async fn start(self) -> Result<PortForward, Error> {
        let upgraded = self.upgrade.await.map_err(|source| Error::Upgrade { source })?;
        Ok(start(TokioIo::new(upgraded), self.transport, &self.ports).await)
    }
}

async fn start<T>(io: T, transport: Transport, ports: &[u16]) -> PortForward
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connections) = mpsc::channel(CONNECTIONS_MAX);
    let closed = CancellationToken::new();
    match transport {
        Transport::Spdy { .. } => spdy::serve(io, sender, closed.clone()),
        Transport::Tunnel => {
            let socket = open(io, tokio_tungstenite::tungstenite::protocol::Role::Server).await;
            spdy::serve(tunnel(socket), sender, closed.clone());
        }
        Transport::WebSocket { coding, .. } => {
            websocket::serve(io, coding, ports, sender, closed.clone()).await;
        }
    }
    PortForward { connections, closed }
}

#[cfg(test)]
mod tests;
