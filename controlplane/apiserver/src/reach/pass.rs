//! Passing one request through to a backend and its answer back: streaming bodies, or an upgraded byte stream.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::{Error, call::chain, connect::BoxStream};
use crate::{
    metrics::LongRunning,
    respond::{self, BoxError, Reply},
    trace,
};

/// Headers that belong to one connection, and credentials that are for us alone.
const NOT_PASSED: &[header::HeaderName] = &[
    header::HOST,
    header::AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

/// A request on its way through.
pub struct Passing {
    pub method: Method,
    /// Path and query at the backend.
    pub path: String,
    /// Complete: see [`end_to_end`].
    pub headers: HeaderMap,
    /// `Host` at the backend.
    pub authority: String,
    pub body: Option<Incoming>,
    pub rest: Rest,
}

/// What is needed once the backend has answered.
pub struct Rest {
    pub upgrade: Option<OnUpgrade>,
    pub gauge: LongRunning,
    pub shutdown: CancellationToken,
}

/// A client's headers without those that are not passed on; upgrades keep `Connection` and `Upgrade`.
#[must_use]
pub fn end_to_end(from: &HeaderMap) -> HeaderMap {
    let upgrade = from.contains_key(header::UPGRADE);
    let named: Vec<String> = from
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut to = HeaderMap::with_capacity(from.len());
    for (name, value) in from {
        let connection = *name == header::CONNECTION || *name == header::UPGRADE;
        let left_out = NOT_PASSED.contains(name)
            || (connection && !upgrade)
            || (!connection && named.iter().any(|one| one == name.as_str()))
            || name.as_str().starts_with("impersonate-")
            || name.as_str().starts_with("x-remote-");
        if !left_out {
            to.append(name, value.clone());
        }
    }
    let token = to.get(header::SEC_WEBSOCKET_PROTOCOL).is_some();
    if token {
        access::authn::remove_credentials(&mut to);
    }
    to
}

/// Sends the request; the answer's head is back, its body still to come.
pub async fn exchange(
    stream: BoxStream,
    passing: Passing,
) -> Result<(Response<Incoming>, Rest), Error> {
    let Passing { method, path, headers, authority, body, rest } = passing;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Error::Http(chain(&error)))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a backend connection ended");
        }
    });
    let body = match body {
        Some(body) => body.map_err(|error| Box::new(error) as BoxError).boxed_unsync(),
        None => respond::full(""),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() =
        path.parse().map_err(|_| Error::Config(format!("invalid path {path:?}")))?;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(&authority)
        .map_err(|_| Error::Config(format!("{authority:?} is no host")))?;
    request.headers_mut().insert(header::HOST, host);
    trace::pass_on(request.headers_mut());
    let response =
        sender.send_request(request).await.map_err(|error| Error::Http(chain(&error)))?;
    Ok((response, rest))
}

/// The backend's answer as ours; an upgraded connection is carried by a task of its own.
pub fn answer(response: Response<Incoming>, rest: Rest) -> Reply {
    let (mut parts, body) = response.into_parts();
    let Rest { upgrade, gauge, shutdown } = rest;
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.headers.remove(header::CONNECTION);
        let body = body
            .map_err(move |error| {
                let _ = &gauge;
                Box::new(error) as BoxError
            })
            .boxed_unsync();
        return Response::from_parts(parts, body);
    }
    let headers = parts.headers.clone();
    let backend = hyper::upgrade::on(Response::from_parts(parts, body));
    if let Some(client) = upgrade {
        tokio::spawn(async move {
            join(client, backend, shutdown).await;
            drop(gauge);
        });
    }
    let mut reply = Response::new(respond::full(""));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = headers;
    reply
}

/// Copies bytes both ways until either side ends.
async fn join(client: OnUpgrade, backend: OnUpgrade, shutdown: CancellationToken) {
    let (client, backend) = match tokio::try_join!(client, backend) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was not completed");
            return;
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        ended = streams::splice(TokioIo::new(client), TokioIo::new(backend)) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a stream ended");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_hop_headers_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("impersonate-user", "u"),
            ("x-remote-user", "root"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("x-mine", "2"),
            ("host", "a"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let kept: Vec<String> = end_to_end(&headers).keys().map(ToString::to_string).collect();
        assert_eq!(kept, ["x-mine"]);
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        headers.insert("connection", HeaderValue::from_static("Upgrade"));
        let kept = end_to_end(&headers);
        assert!(kept.contains_key("upgrade") && kept.contains_key("connection"));
    }
}
