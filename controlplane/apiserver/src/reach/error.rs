//! Why something was not reached, worded as Go's net and http packages, which people search for.

use std::time::Duration;

/// A failed attempt to reach something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service, its port or a ready endpoint does not exist.
    #[error("{0}")]
    NoEndpoint(String),
    #[error("invalid client configuration: {0}")]
    Config(String),
    #[error("dial tcp {address}: {reason}")]
    Dial { address: String, reason: String },
    #[error("dialing pod {pod} through node {node}: {reason}")]
    Tunnel { pod: String, node: String, reason: String },
    #[error("tls: {0}")]
    Tls(String),
    #[error("{0}")]
    Http(String),
    #[error("context deadline exceeded")]
    Timeout(Duration),
    #[error("response body is larger than {0} bytes")]
    TooLarge(usize),
    #[error(
        "the server responded with the status code {code} but did not return more information: {text}"
    )]
    Refused { code: u16, text: String },
}
