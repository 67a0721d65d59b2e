//! Passing a request through to a peer and its answer back: streaming bodies, or an upgraded byte stream.

use api::{Reason, Status};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::{
    HOP_HEADERS,
    connect::{Peer, connect},
};
use crate::{
    call::Call,
    errors,
    respond::{self, BoxError, Reply},
};

/// How much of an agent's error text is kept.
const ERROR_BYTES_MAX: usize = 16 << 10;

/// Sends the call to `peer` as `path`. `wrap_errors` turns a failure's text into a Status.
pub async fn forward(
    mut call: Call,
    peer: Peer,
    path: &str,
    wrap_errors: bool,
) -> Result<Reply, Status> {
    let mut sender = connect(&call.app, &peer).await?;
    let request = request(&mut call, &peer, path)?;
    let response = sender.send_request(request).await.map_err(|error| {
        Status::new(Reason::InternalError, format!("error talking to {}: {error}", peer.address()))
    })?;
    if wrap_errors && response.status().as_u16() >= 400 {
        return Err(wrapped(response).await);
    }
    Ok(answer(call, response))
}

fn request(call: &mut Call, peer: &Peer, path: &str) -> Result<Request<respond::Body>, Status> {
    let body = match call.body.take() {
        Some(body) => body.map_err(|error| Box::new(error) as BoxError).boxed_unsync(),
        None => respond::full(""),
    };
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = path.parse().map_err(|_| errors::bad_request("invalid path"))?;
    copy_headers(&call.headers, request.headers_mut());
    let host = peer.address().to_string();
    let host = host.parse().map_err(|_| errors::internal("an address is no header value"))?;
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    let upgrade = from.contains_key(header::UPGRADE);
    for (name, value) in from {
        let connection = *name == header::CONNECTION || *name == header::UPGRADE;
        if HOP_HEADERS.contains(name)
            || (connection && !upgrade)
            || name.as_str().starts_with("impersonate-")
        {
            continue;
        }
        to.append(name, value.clone());
    }
}

fn answer(call: Call, response: http::Response<Incoming>) -> Reply {
    let (mut parts, body) = response.into_parts();
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.headers.remove(header::CONNECTION);
        let gauge = call.app.metrics.long_running(&call);
        let body = body
            .map_err(move |error| {
                let _ = &gauge;
                Box::new(error) as BoxError
            })
            .boxed_unsync();
        return http::Response::from_parts(parts, body);
    }
    let headers = parts.headers.clone();
    let response = http::Response::from_parts(parts, body);
    let agent = hyper::upgrade::on(response);
    let gauge = call.app.metrics.long_running(&call);
    if let Some(client) = call.upgrade {
        let shutdown = call.app.shutdown.clone();
        tokio::spawn(async move {
            join(client, agent, shutdown).await;
            drop(gauge);
        });
    }
    let mut reply = http::Response::new(respond::full(""));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = headers;
    reply
}

/// Copies bytes both ways until either side ends.
async fn join(client: OnUpgrade, agent: OnUpgrade, shutdown: CancellationToken) {
    let (client, agent) = match tokio::try_join!(client, agent) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was not completed");
            return;
        }
    };
    let (mut client, mut agent) = (TokioIo::new(client), TokioIo::new(agent));
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        ended = tokio::io::copy_bidirectional(&mut client, &mut agent) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a stream ended");
            }
        }
    }
}

async fn wrapped(response: http::Response<Incoming>) -> Status {
    let code = response.status();
    let body = http_body_util::Limited::new(response.into_body(), ERROR_BYTES_MAX);
    let text = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    // An agent may answer with a Status of its own.
    let text = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|status| status["message"].as_str().map(str::to_owned))
        .unwrap_or(text);
    let reason = match code.as_u16() {
        400 => Reason::BadRequest,
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        404 => Reason::NotFound,
        429 => Reason::TooManyRequests,
        503 => Reason::ServiceUnavailable,
        _ => Reason::InternalError,
    };
    Status::new(reason, text)
}
