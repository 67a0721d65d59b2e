//! The pod network of one node: bridge, taps, addresses, overlay to the other nodes.
//! Owns every link, route and nftables rule of pods; knows nothing of services (see `proxy`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use ipnet::Ipv4Net;

#[derive(Debug, thiserror::Error)]
#[error("network: {0}")]
pub struct Error(String);

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

/// Handle to the node's network.
#[derive(Clone, Debug)]
pub struct Network;

impl Network {
    /// Creates or repairs bridge, overlay device, sysctls and rules, and reads the persisted addresses.
    pub async fn setup(_config: Config) -> Result<Network, Error> {
        todo!()
    }
    /// Gives the pod an address and a tap on the bridge. Idempotent per uid.
    pub async fn attach(&self, _pod_uid: &str) -> Result<Attachment, Error> {
        todo!()
    }
    /// Looks up a pod attached earlier (by an earlier process too) and repairs what is around its tap.
    pub async fn adopt(&self, _pod_uid: &str) -> Result<Attached, Error> {
        todo!()
    }
    /// Removes tap, rules and address of a pod. Fine when there are none.
    pub async fn detach(&self, _pod_uid: &str) -> Result<(), Error> {
        todo!()
    }
    /// Detaches every pod that is not in `live_uids`.
    pub async fn retain(&self, _live_uids: &BTreeSet<String>) -> Result<(), Error> {
        todo!()
    }
    /// Makes the overlay reach exactly these nodes (this node may be in the list, it is skipped).
    pub async fn set_peers(&self, _peers: Vec<Peer>) -> Result<(), Error> {
        todo!()
    }
    /// Puts an address of a node-local service (DNS) on the dummy link `bh-dns`.
    pub async fn add_service_address(&self, _address: Ipv4Addr) -> Result<(), Error> {
        todo!()
    }
}
