//! One bounded HTTP/1.1 request to a target, over a connection that is kept for the next one.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use super::{Error, Target, connect::connect, target::WebhookConfig, tls::Tls};
use crate::{app::App, trace};

/// Largest answer that is read, in bytes: a conversion answers with as many objects as it was asked.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Connections kept for each target.
const IDLE_MAX: usize = 8;
/// How much of a refusal's text goes into the error.
const REFUSAL_BYTES_MAX: usize = 512;

type Sender = SendRequest<Full<Bytes>>;
type Key = (Target, Option<Tls>);

/// Connections that wait for their next request.
#[derive(Default)]
pub struct Idle {
    by_target: Mutex<HashMap<Key, Vec<Sender>>>,
}

impl Idle {
    fn take(&self, key: &Key) -> Option<Sender> {
        let mut all = self.by_target.lock();
        let senders = all.get_mut(key)?;
        let found = std::iter::from_fn(|| senders.pop()).find(|sender| !sender.is_closed());
        if senders.is_empty() {
            all.remove(key);
        }
        found
    }

    fn put(&self, key: Key, sender: Sender) {
        let mut all = self.by_target.lock();
        all.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        let senders = all.entry(key).or_default();
        if senders.len() < IDLE_MAX {
            senders.push(sender);
        }
    }
}

/// Sends `request` (its URI is path and query only; it names its `Host`) and reads the whole answer.
pub async fn call(
    app: &App,
    target: &Target,
    tls: Option<&Tls>,
    request: Request<Bytes>,
    timeout: Duration,
) -> Result<Response<Bytes>, Error> {
    let exchange = exchange(app, (target.clone(), tls.cloned()), request);
    match tokio::time::timeout(timeout, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Timeout(timeout)),
    }
}

async fn exchange(app: &App, key: Key, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
    let mut request = request.map(Full::new);
    trace::pass_on(request.headers_mut());
    if let Some(mut sender) = app.idle.take(&key) {
        // The peer may have closed it just now; a request that was not written is sent again below.
        match sender.try_send_request(request).await {
            Ok(response) => return finish(app, key, sender, response).await,
            Err(mut refused) => match refused.take_message() {
                Some(request) => return fresh(app, key, request).await,
                None => return Err(Error::Http(refused.error().to_string())),
            },
        }
    }
    fresh(app, key, request).await
}

async fn fresh(
    app: &App,
    key: Key,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Error> {
    let stream = connect(app, &key.0, key.1.as_ref()).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| Error::Http(chain(&error)))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a backend ended");
        }
    });
    let response =
        sender.send_request(request).await.map_err(|error| Error::Http(chain(&error)))?;
    finish(app, key, sender, response).await
}

async fn finish(
    app: &App,
    key: Key,
    sender: Sender,
    response: Response<hyper::body::Incoming>,
) -> Result<Response<Bytes>, Error> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Error::TooLarge(ANSWER_BYTES_MAX)
        } else {
            Error::Http(error.to_string())
        }
    })?;
    app.idle.put(key, sender);
    Ok(Response::from_parts(parts, body.to_bytes()))
}

/// An error with what caused it: hyper's own text leaves the reason out.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// POSTs JSON as a `clientConfig` says, with `query` added to its path (`timeout=10s`), and returns the body of a 2xx
/// answer.
///
/// # Errors
/// What failed, without the `Post "<url>": ` that callers put before it ([`WebhookConfig::url`]).
pub async fn post_webhook(
    app: &App,
    config: &WebhookConfig,
    query: &str,
    body: Bytes,
    timeout: Duration,
) -> Result<Bytes, Error> {
    let path = match (query.is_empty(), config.path.contains('?')) {
        (true, _) => config.path.clone(),
        (false, true) => format!("{}&{query}", config.path),
        (false, false) => format!("{}?{query}", config.path),
    };
    let host = HeaderValue::from_str(&config.authority)
        .map_err(|_| Error::Config(format!("{:?} is no host", config.authority)))?;
    let request = Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(body)
        .map_err(|error| Error::Config(error.to_string()))?;
    let response = call(app, &config.target, config.tls.as_ref(), request, timeout).await?;
    let (parts, body) = response.into_parts();
    if parts.status.is_success() {
        return Ok(body);
    }
    let end = body.len().min(REFUSAL_BYTES_MAX);
    let text = String::from_utf8_lossy(&body[..end]).trim().to_owned();
    Err(Error::Refused { code: parts.status.as_u16(), text })
}
