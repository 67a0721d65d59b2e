//! The pod network of one node: bridge, taps, addresses, overlay to the other nodes.
//! Owns every link, route and nftables rule of pods; knows nothing of services (see `proxy`).

mod addresses;
mod filter;
mod links;
mod names;
mod node;
mod overlay;
mod sysctl;
mod tap;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use ipnet::Ipv4Net;
pub use node::Network;

/// Bytes VXLAN adds to a packet: outer IPv4, UDP, VXLAN, inner Ethernet.
pub const OVERLAY_OVERHEAD_BYTES: u32 = 50;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Addresses(#[from] addresses::Error),
    #[error(transparent)]
    Links(#[from] links::Error),
    #[error("set up packet filter")]
    Filter(#[from] nftables::Error),
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    #[error("open tap {name}")]
    Tap { name: String, source: io::Error },
    #[error("find the network of pod {uid}: it was never attached")]
    NotAttached { uid: String },
}

/// What the network of one node is made from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this node, as in `node.metadata.name`.
    pub node_name: String,
    /// Address of this node that its peers reach (VXLAN end point).
    pub node_ip: Ipv4Addr,
    /// Link that carries `node_ip`.
    pub uplink: String,
    /// Addresses of this node's pods; the first one is the gateway.
    pub pod_cidr: Ipv4Net,
    /// All pod addresses of the cluster; traffic inside is never masqueraded.
    pub cluster_cidr: Ipv4Net,
    /// MTU of the uplink in bytes; pods get 50 less.
    pub mtu: u32,
    /// Directory for the address file of each pod.
    pub state_dir: PathBuf,
}

/// Another node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    pub node_name: String,
    pub node_ip: Ipv4Addr,
    pub pod_cidr: Ipv4Net,
}

/// A pod's place in the network, with the tap the VMM reads and writes.
///
/// Frames on the tap carry a 12-byte virtio-net header (`struct virtio_net_hdr_v1`); checksum and
/// TCP segmentation offloads are on. The fd is non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Attachment {
    pub tap: OwnedFd,
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub gateway: Ipv4Addr,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub tap_name: String,
}

/// A pod's place in the network while its VMM holds the tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub gateway: Ipv4Addr,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub tap_name: String,
}
