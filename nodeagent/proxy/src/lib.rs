//! Services on a node: turns Services and EndpointSlices into nftables rules.
//! Owns the table `inet bulkhead-proxy` and nothing else.

use std::net::Ipv4Addr;

pub use ipnet::Ipv4Net;
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
#[error("proxy: {0}")]
pub struct Error(String);

/// Whose traffic the rules are for.
#[derive(Debug, Clone)]
pub struct Config {
    pub node_name: String,
    pub node_ip: Ipv4Addr,
    /// All pod addresses of the cluster.
    pub cluster_cidr: Ipv4Net,
}

/// Keeps the node's rules equal to the cluster's services until `shutdown`.
pub async fn run(
    _client: kube::Client,
    _config: Config,
    _shutdown: CancellationToken,
) -> Result<(), Error> {
    todo!()
}
