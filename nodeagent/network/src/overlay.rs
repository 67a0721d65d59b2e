//! What the VXLAN device must hold to reach the other nodes, and the difference to what it holds.
//! Pure. Per peer: one route (its pod CIDR through its end point, on-link), one neighbour (end point to
//! hardware address) and one forwarding entry (hardware address to node address); nothing is learned.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::{Peer, names};

/// Everything the device holds or should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Pod CIDR to the end point's inner address.
    pub routes: BTreeMap<Ipv4Net, Ipv4Addr>,
    /// The end point's inner address to its hardware address.
    pub neighbours: BTreeMap<Ipv4Addr, [u8; 6]>,
    /// The end point's hardware address to the node's address.
    pub forwarding: BTreeMap<[u8; 6], Ipv4Addr>,
}

/// Steps from one overlay to another: first all of `remove`, then all of `set`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub remove: Overlay,
    pub set: Overlay,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        *self == Plan::default()
    }
}

/// The overlay that reaches `peers`. Peers that are this node, lie outside the cluster's addresses
/// or claim this node's pods are left out.
pub fn desired(
    peers: &[Peer],
    node_ip: Ipv4Addr,
    pod_cidr: Ipv4Net,
    cluster_cidr: Ipv4Net,
) -> Overlay {
    let mut overlay = Overlay::default();
    for peer in peers {
        let foreign = !cluster_cidr.contains(&peer.pod_cidr);
        let ours = peer.node_ip == node_ip
            || pod_cidr.contains(&peer.pod_cidr)
            || peer.pod_cidr.contains(&pod_cidr);
        if foreign || ours {
            continue;
        }
        let inner = peer.pod_cidr.network();
        let mac = names::vtep_mac(peer.node_ip);
        overlay.routes.insert(peer.pod_cidr.trunc(), inner);
        overlay.neighbours.insert(inner, mac);
        overlay.forwarding.insert(mac, peer.node_ip);
    }
    overlay
}

/// What to change so that `observed` becomes `desired`.
pub fn plan(observed: &Overlay, desired: &Overlay) -> Plan {
    Plan {
        remove: Overlay {
            routes: gone(&observed.routes, &desired.routes),
            neighbours: gone(&observed.neighbours, &desired.neighbours),
            forwarding: gone(&observed.forwarding, &desired.forwarding),
        },
        set: Overlay {
            routes: missing(&observed.routes, &desired.routes),
            neighbours: missing(&observed.neighbours, &desired.neighbours),
            forwarding: missing(&observed.forwarding, &desired.forwarding),
        },
    }
}

/// Keys that are not wanted any more. A changed value is replaced, not removed.
fn gone<K: Ord + Copy, V: Copy>(
    observed: &BTreeMap<K, V>,
    desired: &BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    observed.iter().filter(|(key, _)| !desired.contains_key(key)).map(|(k, v)| (*k, *v)).collect()
}

fn missing<K: Ord + Copy, V: Copy + PartialEq>(
    observed: &BTreeMap<K, V>,
    desired: &BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    desired
        .iter()
        .filter(|(key, value)| observed.get(key) != Some(*value))
        .map(|(k, v)| (*k, *v))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Peer {
        Peer {
            node_name: format!("node-{number}"),
            node_ip: Ipv4Addr::new(10, 88, 0, 10 + number),
            pod_cidr: format!("10.244.{number}.0/24").parse().unwrap(),
        }
    }

    fn wanted(peers: &[Peer]) -> Overlay {
        let own = peer(1);
        desired(peers, own.node_ip, own.pod_cidr, "10.244.0.0/16".parse().unwrap())
    }

    #[test]
    fn a_peer_is_route_neighbour_and_forwarding_entry() {
        let overlay = wanted(&[peer(1), peer(2)]);
        let mac = names::vtep_mac(peer(2).node_ip);
        assert_eq!(overlay.routes.len(), 1, "this node itself is not a peer");
        assert_eq!(overlay.routes[&peer(2).pod_cidr], Ipv4Addr::new(10, 244, 2, 0));
        assert_eq!(overlay.neighbours[&Ipv4Addr::new(10, 244, 2, 0)], mac);
        assert_eq!(overlay.forwarding[&mac], peer(2).node_ip);
    }

    #[test]
    fn hostile_or_wrong_peers_are_left_out() {
        let mut everything = peer(3);
        everything.pod_cidr = "0.0.0.0/0".parse().unwrap();
        let mut ours = peer(4);
        ours.pod_cidr = "10.244.1.128/25".parse().unwrap();
        assert_eq!(wanted(&[everything, ours]), Overlay::default());
    }

    #[test]
    fn plans_only_differences() {
        let two = wanted(&[peer(2), peer(3)]);
        assert!(plan(&two, &two).is_empty());
        let start = plan(&Overlay::default(), &two);
        assert_eq!((start.remove, start.set), (Overlay::default(), two.clone()));

        let step = plan(&two, &wanted(&[peer(3), peer(4)]));
        assert_eq!(step.remove, wanted(&[peer(2)]));
        assert_eq!(step.set, wanted(&[peer(4)]));
    }

    #[test]
    fn a_node_with_a_new_address_is_replaced_in_place() {
        let mut moved = peer(2);
        moved.node_ip = Ipv4Addr::new(10, 88, 0, 99);
        let step = plan(&wanted(&[peer(2)]), &wanted(&[moved.clone()]));
        assert!(step.remove.routes.is_empty() && step.set.routes.is_empty());
        assert_eq!(step.set.neighbours.len(), 1);
        assert_eq!(step.set.forwarding[&names::vtep_mac(moved.node_ip)], moved.node_ip);
        assert_eq!(step.remove.forwarding.len(), 1);
    }
}
