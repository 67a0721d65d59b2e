//! Node-local DNS: names of services and pods from the API, everything else from upstream.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
#[error("dns: {0}")]
pub struct Error(String);

/// Where the server listens and whom it asks.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses for UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// Servers for names outside the cluster domain, tried in order; none: such names are refused.
    pub upstream: Vec<SocketAddr>,
}

/// Answers until `shutdown`.
pub async fn run(
    _client: kube::Client,
    _config: Config,
    _shutdown: CancellationToken,
) -> Result<(), Error> {
    todo!()
}
