//! The smallest HTTP client: one plain-HTTP request, for the CA and for probes.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Longest body that is read.
const BODY_MAX: usize = 1 << 20;

/// Status and body of `GET http://host:port/path`.
pub async fn get(url: &str, timeout: Duration) -> anyhow::Result<(StatusCode, Bytes)> {
    let uri: http::Uri = url.parse().with_context(|| format!("parse {url}"))?;
    let host = uri.host().ok_or_else(|| anyhow!("{url} has no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let exchange = async {
        let stream = TcpStream::connect((host, port)).await.context("connect")?;
        let headers = HeaderMap::new();
        exchange(stream, &format!("{host}:{port}"), path, headers).await
    };
    tokio::time::timeout(timeout, exchange).await.context("timed out")?
}

/// One GET over an open connection.
pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
    headers: HeaderMap,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::get(path).body(Empty::<Bytes>::new())?;
    request.headers_mut().insert(http::header::HOST, host.parse()?);
    request.headers_mut().insert(http::header::ACCEPT, "*/*".parse()?);
    request.headers_mut().extend(headers);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
    driver.abort();
    let body = body.map_err(|error| anyhow!("read the body: {error}"))?;
    Ok((status, body.to_bytes()))
}
