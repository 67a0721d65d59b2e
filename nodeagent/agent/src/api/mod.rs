//! The kubelet API on port 10250: logs, exec, attach, port-forward, pods, stats, metrics, debug. Clients prove
//! themselves with a certificate of the cluster's CA; only the API server and administrators get in.

mod container_logs;
mod forward;
mod metrics;
mod remote;
mod routes;
mod server;
mod stats;
pub mod tls;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

pub use server::{Config, serve};

/// Bodies of answers: whole or streamed.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A whole body.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A plain-text answer.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(whole(text.into()));
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}

/// A JSON answer.
pub fn json(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(whole(value.to_string()));
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
