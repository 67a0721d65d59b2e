//! Accepts connections and hands requests to the routes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{routes, tls};
use crate::node::Machine;
use crate::pods::Pods;
use crate::shared::Shared;

/// Connections at once.
const CONNECTIONS_MAX: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// What the API serves from.
pub struct Config {
    pub listen: SocketAddr,
    pub tls: ServerConfig,
    pub shared: Arc<Shared>,
    pub pods: Pods,
    pub machine: Machine,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Trusted,
    Unknown,
}

/// Serves until shutdown.
pub async fn serve(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen on {}", config.listen))?;
    tracing::info!(listen = %config.listen, "kubelet API is up");
    let acceptor = TlsAcceptor::from(Arc::new(config.tls.clone()));
    let config = Arc::new(config);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else { continue };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (config, acceptor) = (Arc::clone(&config), acceptor.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(config, acceptor, stream).await {
                tracing::debug!(%peer, error = format!("{error:#}"), "connection ended");
            }
            drop(slot);
        });
    }
}

async fn connection(
    config: Arc<Config>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let caller = match certificate {
        Some(certificate) if tls::is_trusted(certificate) => Caller::Trusted,
        Some(_) | None => Caller::Unknown,
    };
    let handler = service_fn(move |request| {
        let config = Arc::clone(&config);
        async move { Ok::<_, Infallible>(routes::answer(&config, caller, request).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), handler)
        .with_upgrades()
        .await?;
    Ok(())
}
