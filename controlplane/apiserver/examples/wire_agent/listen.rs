//! The agent's HTTPS server and its routes.

use std::{convert::Infallible, sync::Arc};

use access::pki::{self, Pki};
use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Shared, commands, forward, logs, stats};

pub type Body = UnsyncBoxBody<Bytes, Infallible>;
pub type Answer = Response<Body>;

/// The cluster's own certificate; only who has one of the cluster's client certificates is answered.
pub fn tls(pki: &Pki) -> Result<TlsAcceptor> {
    let mut config = pki::server_tls_config(pki)?;
    config.alpn_protocols.clear();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

pub async fn serve(shared: Shared, listener: TcpListener, tls: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, tls) = (shared.clone(), tls.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(shared, stream, tls).await {
                eprintln!("agent: {error:#}");
            }
        });
    }
}

async fn connection(shared: Shared, stream: TcpStream, tls: TlsAcceptor) -> Result<()> {
    let stream = tls.accept(stream).await?;
    if stream.get_ref().1.peer_certificates().is_none() {
        anyhow::bail!("a client without a certificate");
    }
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    // A client that goes away in the middle is no failure of the agent.
    let _ended =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    Ok(())
}

async fn answer(shared: &Shared, mut request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let method = request.method().to_string();
    shared.note(&format!("{method} {} {}", upgrade(request.headers()), request.uri()));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["exec", namespace, pod, _] => commands::exec(shared, &mut request, namespace, pod),
        ["attach", namespace, pod, _] => commands::attach(shared, &mut request, namespace, pod),
        ["portForward", _, pod] => forward::forward(&mut request, pod),
        ["containerLogs", _, pod, container] => logs::answer(&request, pod, container),
        ["stats", "summary"] => stats::answer(shared).await,
        ["healthz"] => text(StatusCode::OK, "ok"),
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn upgrade(headers: &HeaderMap) -> &str {
    headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("-")
}

pub fn text(code: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()).boxed_unsync());
    *answer.status_mut() = code;
    answer
}

/// A refused upgrade or the head of an accepted one.
pub fn upgraded(result: Result<Response<()>, streams::Refusal>) -> Answer {
    match result {
        Ok(head) => head.map(|()| Full::default().boxed_unsync()),
        Err(refusal) => refusal.response().map(|text| Full::new(text.into()).boxed_unsync()),
    }
}
