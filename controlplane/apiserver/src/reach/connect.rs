//! From a target to a connected byte stream.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    Error, Target,
    resolve::{Place, resolve},
    tls::{self, Tls},
    tunnel,
};
use crate::app::App;

/// How long one place may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Places that are tried before giving up.
const PLACES_MAX: usize = 3;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

pub type BoxStream = Box<dyn Stream>;

/// Connects to a target, with TLS when asked for. Tries further endpoints of a service when the first does not answer.
pub async fn connect(app: &App, target: &Target, tls: Option<&Tls>) -> Result<BoxStream, Error> {
    let places = resolve(&*app.cache, target)?;
    let tls = match tls {
        Some(tls) => Some((tls::client_config(tls)?, tls::server_name(tls)?)),
        None => None,
    };
    let mut failed = None;
    for place in places.into_iter().take(PLACES_MAX) {
        match dial(app, &place).await {
            Ok(stream) => return secure(stream, tls).await,
            Err(error) => {
                tracing::debug!(?place, %error, "could not connect");
                failed.get_or_insert(error);
            }
        }
    }
    Err(failed.unwrap_or_else(|| Error::NoEndpoint("no endpoints available".into())))
}

async fn secure(
    stream: BoxStream,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
) -> Result<BoxStream, Error> {
    let Some((config, name)) = tls else { return Ok(stream) };
    let handshake = TlsConnector::from(config).connect(name, stream);
    match tokio::time::timeout(CONNECT_MAX, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(Error::Tls(format!("failed to verify certificate: {error}"))),
        Err(_) => Err(Error::Tls("handshake timeout".into())),
    }
}

/// Connects to one place.
pub async fn dial(app: &App, place: &Place) -> Result<BoxStream, Error> {
    match place {
        Place::Direct { host, port } => direct(host, *port).await,
        Place::Pod { node, agent, namespace, name, port } => {
            let stream = to_agent(app, *agent).await?;
            let opened = tunnel::open(stream, *agent, namespace, name, *port);
            match tokio::time::timeout(CONNECT_MAX, opened).await {
                Ok(Ok(tunnel)) => Ok(Box::new(tunnel)),
                Ok(Err(reason)) => {
                    Err(Error::Tunnel { pod: name.clone(), node: node.clone(), reason })
                }
                Err(_) => Err(Error::Tunnel {
                    pod: name.clone(),
                    node: node.clone(),
                    reason: "i/o timeout".into(),
                }),
            }
        }
    }
}

async fn direct(host: &str, port: u16) -> Result<BoxStream, Error> {
    let failed = |reason: String| Error::Dial { address: format!("{host}:{port}"), reason };
    match tokio::time::timeout(CONNECT_MAX, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => {
            stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
            Ok(Box::new(stream))
        }
        Ok(Err(error)) => Err(failed(worded(&error))),
        Err(_) => Err(failed("i/o timeout".into())),
    }
}

/// Go's words for the commonest failure.
fn worded(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        _ => error.to_string(),
    }
}

/// A TLS connection to a node's agent with our client certificate.
pub async fn to_agent(app: &App, agent: SocketAddr) -> Result<BoxStream, Error> {
    let stream = direct(&agent.ip().to_string(), agent.port()).await?;
    let name = ServerName::IpAddress(agent.ip().into());
    secure(stream, Some((app.node_tls.clone(), name))).await
}
