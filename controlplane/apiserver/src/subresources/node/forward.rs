//! Passing a request through to a node's agent and its answer back.

use std::net::SocketAddr;

use api::{Reason, Status};
use http_body_util::BodyExt;

use crate::{
    call::Call,
    reach::{
        self, Error,
        pass::{self, Passing, Rest},
    },
    respond::Reply,
};

/// How much of an agent's error text is kept.
const ERROR_BYTES_MAX: usize = 16 << 10;

/// Sends the call to the agent as `path`. `wrap_errors` turns a failure's text into a Status.
pub async fn forward(
    mut call: Call,
    agent: SocketAddr,
    path: &str,
    wrap_errors: bool,
) -> Result<Reply, Status> {
    let stream = reach::to_agent(&call.app, agent).await.map_err(|error| unreachable(&error))?;
    let passing = Passing {
        method: call.method.clone(),
        path: path.to_owned(),
        headers: pass::end_to_end(&call.headers),
        authority: agent.to_string(),
        body: call.body.take(),
        rest: Rest {
            upgrade: call.upgrade.take(),
            gauge: call.app.metrics.long_running(&call),
            shutdown: call.app.shutdown.clone(),
        },
    };
    let (response, rest) = pass::exchange(stream, passing).await.map_err(|error| {
        Status::new(Reason::InternalError, format!("error talking to {agent}: {error}"))
    })?;
    if wrap_errors && response.status().as_u16() >= 400 {
        return Err(wrapped(response).await);
    }
    Ok(pass::answer(response, rest))
}

/// Worded as Go's dial errors, which people search for.
fn unreachable(error: &Error) -> Status {
    Status::new(Reason::InternalError, format!("error dialing backend: {error}"))
}

async fn wrapped(response: http::Response<hyper::body::Incoming>) -> Status {
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
