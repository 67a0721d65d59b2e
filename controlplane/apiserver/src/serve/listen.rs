//! Listeners: TLS, HTTP/1.1 and HTTP/2, connection limits, graceful end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::handle;
use crate::app::App;

/// Connections that are open at once.
const CONNECTIONS_MAX: usize = 20_000;
/// How long a client may take for its TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long open requests get to finish at shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Streams on one HTTP/2 connection, as upstream.
const STREAMS_MAX: u32 = 250;
/// A connection that answers no ping for this long is dead.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Binds all addresses.
pub async fn bind(addresses: &[SocketAddr]) -> std::io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(TcpListener::bind(address).await?);
    }
    Ok(listeners)
}

/// Serves until shutdown, then waits a bounded time for open requests.
pub async fn serve(app: Arc<App>, listeners: Vec<TcpListener>, tls: Arc<rustls::ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accepting = TaskTracker::new();
    for listener in listeners {
        let loop_ =
            accept(app.clone(), listener, acceptor.clone(), connections.clone(), permits.clone());
        accepting.spawn(loop_);
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    if tokio::time::timeout(DRAIN_MAX, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are cut at shutdown");
    }
}

async fn accept(
    app: Arc<App>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connections: TaskTracker,
    permits: Arc<Semaphore>,
) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                // interval: accept fails when file descriptors run out; wait for some to be closed.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (app, acceptor) = (app.clone(), acceptor.clone());
        connections.spawn(async move {
            serve_connection(app, (stream, address), acceptor).await;
            drop(permit);
        });
    }
}

async fn serve_connection(
    app: Arc<App>,
    (stream, address): (TcpStream, SocketAddr),
    acceptor: TlsAcceptor,
) {
    let _ = stream.set_nodelay(true);
    let accepted = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await;
    let Ok(Ok(stream)) = accepted else {
        tracing::debug!("a TLS handshake failed");
        return;
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|cert| cert.to_vec());
    let certificate: Option<Arc<[u8]>> = certificate.map(Into::into);
    let shutdown: CancellationToken = app.shutdown.clone();
    let service = hyper::service::service_fn(move |request| {
        let peer = handle::Peer { certificate: certificate.clone(), address: address.ip() };
        handle::handle(app.clone(), peer, request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .adaptive_window(true);
    builder.http1().timer(TokioTimer::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
