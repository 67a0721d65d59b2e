//! Node-local DNS: names of services and pods from the API, everything else from upstream.
//! Owns its sockets; writes nothing to the API.

pub mod answer;
mod forward;
pub mod records;
pub mod server;
mod task;

use std::io;
use std::net::SocketAddr;

pub use task::run;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listen on {address} for DNS")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("watch {what}: its task ended")]
    Watch { what: &'static str },
}

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
