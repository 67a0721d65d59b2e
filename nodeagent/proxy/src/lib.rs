//! Services on a node: turns Services and EndpointSlices into nftables rules.
//! Owns the table `ip bulkhead-proxy` and nothing else.

pub mod plan;
pub mod ruleset;
mod task;

use std::net::Ipv4Addr;

pub use ipnet::Ipv4Net;
pub use task::run;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("watch {what}: its task ended")]
    Watch { what: &'static str },
}

/// Whose traffic the rules are for.
#[derive(Debug, Clone)]
pub struct Config {
    pub node_name: String,
    pub node_ip: Ipv4Addr,
    /// All pod addresses of the cluster.
    pub cluster_cidr: Ipv4Net,
}
