//! What can go wrong, before the upgrade ([`Refusal`]) and after it ([`Error`]).

use http::{HeaderValue, Response, StatusCode};

/// A request that is no valid upgrade. Answer it with [`Refusal::response`].
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("unable to upgrade: missing upgrade headers in request")]
    NoUpgrade,
    #[error("unable to upgrade: WebSocket key or version is missing or wrong")]
    BadWebSocket,
    #[error("unable to upgrade: none of the client's protocols is supported")]
    NoCommonProtocol { accepted: &'static [&'static str] },
    #[error("you must specify at least 1 of stdin, stdout, stderr")]
    NoStreams,
    #[error("query parameter \"port\" is required")]
    NoPorts,
    #[error("unable to parse {text:?} as a port")]
    BadPort { text: String },
}

impl Refusal {
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoCommonProtocol { .. } => StatusCode::FORBIDDEN,
            Self::NoUpgrade
            | Self::BadWebSocket
            | Self::NoStreams
            | Self::NoPorts
            | Self::BadPort { .. } => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer, with this error's text as its body.
    #[must_use]
    pub fn response(&self) -> Response<String> {
        let mut response = Response::new(self.to_string());
        *response.status_mut() = self.status();
        if let Self::NoCommonProtocol { accepted } = self {
            for protocol in *accepted {
                let value = HeaderValue::from_static(protocol);
                response.headers_mut().append("x-accepted-stream-protocol-versions", value);
            }
        }
        response
    }
}

/// A connection that failed after its upgrade.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("upgrade the connection")]
    Upgrade { source: hyper::Error },
    #[error("wait for the client's streams: timed out")]
    StreamsTimeout,
    #[error("the client closed the connection")]
    Closed,
    #[error("write to the client")]
    Write { reason: String },
}
