//! HTTP for booting machines: `/boot.ipxe?mac=`, `/images/<file>`, `/ca.crt`.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::{io::ReaderStream, sync::CancellationToken};
use tracing::{info, warn};

use crate::{Config, Error, controller::Report, inventory::Inventory, ipxe, join, state::Sight};

/// Connections at a time; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 512;
/// Bytes read from an image file at a time.
const CHUNK_BYTES: usize = 256 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;

#[derive(Debug)]
struct Shared {
    client: DebugClient,
    config: Config,
    inventory: Inventory,
    reports: mpsc::Sender<Report>,
    ca_hash: String,
}

/// A client that may stand in a struct with `Debug`.
struct DebugClient(kube::Client);

impl std::fmt::Debug for DebugClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// Serves until shutdown.
pub(crate) async fn run(
    client: kube::Client,
    config: Config,
    inventory: Inventory,
    reports: mpsc::Sender<Report>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let address = SocketAddr::from((config.address, config.http_port));
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen {
        service: "HTTP",
        address,
        source,
    })?;
    info!(%address, "serving boot scripts and images");
    let ca_hash = sha256(config.ca_pem.as_bytes());
    let shared =
        Arc::new(Shared { client: DebugClient(client), config, inventory, reports, ca_hash });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                if let Ok((stream, peer)) = accepted {
                    connections.spawn(serve(Arc::clone(&shared), stream, peer));
                }
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, stream: tokio::net::TcpStream, peer: SocketAddr) {
    let handler = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, &request, peer).await) }
    });
    if let Err(error) = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), handler)
        .await
    {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn answer(shared: &Shared, request: &Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    }
    let path = request.uri().path();
    // Some firmware sends double slashes.
    let path = format!(
        "/{}",
        path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    );
    match path.as_str() {
        "/boot.ipxe" => script(shared, request.uri().query().unwrap_or_default()).await,
        "/autoexec.ipxe" => text(StatusCode::OK, "#!ipxe\nchain /boot.ipxe?mac=${net0/mac}\n"),
        "/ca.crt" => text(StatusCode::OK, &shared.config.ca_pem),
        "/images/kernel" | "/images/initramfs" => {
            image(shared, &path["/images/".len()..], peer).await
        }
        _ => text(StatusCode::NOT_FOUND, "not found"),
    }
}

async fn script(shared: &Shared, query: &str) -> Response<Body> {
    let mac = query.split('&').find_map(|pair| pair.strip_prefix("mac="));
    let Some(mac) = mac.map(|mac| mac.replace("%3A", ":").replace("%3a", ":").to_lowercase())
    else {
        return text(StatusCode::BAD_REQUEST, "mac is missing");
    };
    let Some(entry) = shared.inventory.find(&mac) else {
        return text(StatusCode::NOT_FOUND, "no such machine");
    };
    report(shared, &mac, Sight::Script).await;
    let address = shared.inventory.assign(&mac, shared.config.pool);
    let (true, Some(address)) = (entry.admitted, address) else {
        return text(StatusCode::OK, &ipxe::wait(&shared.config, &mac));
    };
    match join::issue(&shared.client.0, &entry.name, &mac).await {
        Ok(token) => {
            let boot = ipxe::Boot {
                name: &entry.name,
                mac: &mac,
                address,
                token: &token,
                ca_hash: &shared.ca_hash,
            };
            text(StatusCode::OK, &ipxe::boot(&shared.config, &boot))
        }
        Err(error) => {
            warn!(machine = entry.name, error = &error as &dyn std::error::Error, "no join token");
            text(StatusCode::SERVICE_UNAVAILABLE, "no join token could be issued; try again")
        }
    }
}

async fn image(shared: &Shared, name: &str, peer: SocketAddr) -> Response<Body> {
    let path = shared.config.images.join(name);
    let opened = async {
        let file = tokio::fs::File::open(&path).await?;
        let length = file.metadata().await?.len();
        Ok::<_, io::Error>((file, length))
    };
    let Ok((file, length)) = opened.await else {
        warn!(path = %path.display(), "a machine asked for an image that is not there");
        return text(StatusCode::NOT_FOUND, "the image is not there");
    };
    let mac = match peer {
        SocketAddr::V4(peer) => shared.inventory.mac_at(*peer.ip()),
        SocketAddr::V6(_) => None,
    };
    if let Some(mac) = &mac {
        report(shared, mac, Sight::ImageStarted).await;
    }
    let last = name == "initramfs";
    let done = mac.filter(|_| last).map(|mac| (shared.reports.clone(), mac));
    let mut left = length;
    // Nobody polls a body beyond its declared length: the end is when the last chunk was taken for sending.
    let chunks = ReaderStream::with_capacity(file, CHUNK_BYTES).map_ok(move |chunk| {
        left = left.saturating_sub(chunk.len() as u64);
        if let (0, Some((reports, mac))) = (left, &done) {
            let report = Report { mac: mac.clone(), sight: Sight::ImageSent };
            if reports.try_send(report).is_err() {
                warn!(%mac, "a machine's progress is not recorded: too many reports wait");
            }
        }
        Frame::data(chunk)
    });
    let body = StreamBody::new(chunks);
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, length)
        .body(BodyExt::boxed_unsync(body));
    response.unwrap_or_else(|_bad| text(StatusCode::INTERNAL_SERVER_ERROR, "bad header"))
}

async fn report(shared: &Shared, mac: &str, sight: Sight) {
    // The controller is gone only when all shuts down.
    let _closing = shared.reports.send(Report { mac: mac.to_owned(), sight }).await;
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

/// SHA-256, hexadecimal.
fn sha256(data: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}
