//! The pod network against a real kernel, in network namespaces. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;

use network::{Network, Peer};
use support::{BROADCAST, Guest, Listener, Namespace, arp, config, ethernet, udp};

fn node(state: &std::path::Path) -> Option<Namespace> {
    let namespace = Namespace::new()?;
    namespace.sh("ip link add name eth0 type bridge && ip link set eth0 up && ip address add 10.88.0.11/24 dev eth0");
    assert!(state.exists());
    Some(namespace)
}

#[test]
fn attach_is_idempotent_and_survives_restarts() {
    let state = tempfile::tempdir().unwrap();
    let Some(namespace) = node(state.path()) else { return };
    let (first, again, other) = namespace.run(async || {
        let network = Network::setup(config(1, state.path())).await.unwrap();
        let first = network.attach("uid-1").await.unwrap();
        let busy = network.attach("uid-1").await;
        assert!(busy.is_err(), "a tap in use is not opened twice");
        let (address, tap_name) = (first.address, first.tap_name.clone());
        drop(first);
        let again = network.attach("uid-1").await.unwrap();
        assert_eq!((again.address, &again.tap_name), (address, &tap_name));
        let other = network.attach("uid-2").await.unwrap();
        ((address, tap_name), again, other)
    });
    assert_eq!(again.gateway, Ipv4Addr::new(10, 244, 1, 1));
    assert_eq!((again.prefix_len, again.mtu), (24, 1450));
    assert_ne!(other.address, again.address);

    namespace.run(async || {
        let network = Network::setup(config(1, state.path())).await.unwrap();
        let adopted = network.adopt("uid-1").await.unwrap();
        assert_eq!((adopted.address, adopted.tap_name), first);
        assert!(network.adopt("uid-3").await.is_err());
        network.retain(&BTreeSet::from(["uid-1".to_owned()])).await.unwrap();
        assert!(network.adopt("uid-2").await.is_err());
        network.detach("uid-1").await.unwrap();
        network.detach("uid-1").await.unwrap();
    });
    let left = namespace.sh("ip -brief link; nft list set bridge bulkhead pods");
    assert!(!left.contains("tap"), "{left}");
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
}

#[test]
fn pods_of_one_node_talk_through_the_gateway() {
    let state = tempfile::tempdir().unwrap();
    let Some(namespace) = node(state.path()) else { return };
    let (one, two) = namespace.run(async || {
        let network = Network::setup(config(1, state.path())).await.unwrap();
        let one = Guest::from(network.attach("uid-1").await.unwrap());
        (one, Guest::from(network.attach("uid-2").await.unwrap()))
    });
    let gateway = one.resolve(one.gateway);
    assert_eq!(one.resolve(two.address), gateway, "the gateway answers for neighbours");
    one.send_udp(gateway, two.address, (1000, 2000), b"hello");
    assert_eq!(two.receive_udp(2000), Some((one.address, 1000, b"hello".to_vec())));
    // Straight to the neighbour's hardware address nothing passes: the ports are isolated.
    one.send_udp(two.mac, two.address, (1000, 2001), b"direct");
    one.send_udp(gateway, two.address, (1000, 2002), b"routed");
    let seen = two.receive(|frame| frame.len() >= 42 && frame[36] == 0x07 && frame[37] != 0xd0);
    assert_eq!(seen.unwrap()[37], 0xd2, "port 2002");
}

#[test]
fn spoofed_frames_are_dropped() {
    let state = tempfile::tempdir().unwrap();
    let Some(namespace) = node(state.path()) else { return };
    namespace.run(async || {
        let network = Network::setup(config(1, state.path())).await.unwrap();
        let guest = Guest::from(network.attach("uid-1").await.unwrap());
        let victim = network.attach("uid-2").await.unwrap();
        let gateway = guest.resolve(guest.gateway);
        let bridge = Listener::new("bh0");
        for (what, frame) in hostile_frames(&guest, (victim.mac, victim.address), gateway) {
            guest.send(&frame);
            // What arrives after it on the bridge must be the marker, and nothing before.
            guest.send_udp(gateway, guest.gateway, (7, 9999), what.as_bytes());
            let seen = bridge.next();
            assert!(seen.ends_with(what.as_bytes()), "passed: {what}: {seen:02x?}");
        }
        // The control: without the rules the same frames do arrive, so the listener can see them.
        let off = "flush chain bridge bulkhead prerouting; flush chain bridge bulkhead input";
        assert!(Command::new("nft").arg(off).status().unwrap().success());
        for (what, frame) in hostile_frames(&guest, (victim.mac, victim.address), gateway) {
            if !what.contains("tree") && !what.contains("discovery") {
                guest.send(&frame);
                assert_eq!(bridge.next()[..12], frame[..12], "not seen without rules: {what}");
            }
        }
    });
    let drops = namespace.sh("nft list chain bridge bulkhead guest");
    assert!(!drops.contains("packets 0 "), "{drops}");
}

fn hostile_frames(
    guest: &Guest,
    (victim_mac, victim): ([u8; 6], Ipv4Addr),
    gateway: [u8; 6],
) -> Vec<(&'static str, Vec<u8>)> {
    let (mac, own) = (guest.mac, guest.address);
    let to = |address: &str| address.parse::<Ipv4Addr>().unwrap();
    let mut lying_arp = arp(1, mac, BROADCAST, own, ([0; 6], guest.gateway));
    lying_arp[22..28].copy_from_slice(&victim_mac);
    let mut tagged = udp(mac, gateway, (own, guest.gateway), (1, 2), b"");
    tagged.splice(12..12, [0x81, 0, 0, 1]);
    vec![
        (
            "hardware address of another",
            udp(victim_mac, gateway, (own, guest.gateway), (1, 2), b""),
        ),
        ("address of another", udp(mac, gateway, (victim, guest.gateway), (1, 2), b"")),
        ("address of the gateway", udp(mac, gateway, (guest.gateway, victim), (1, 2), b"")),
        ("both of another", udp(victim_mac, gateway, (victim, guest.gateway), (1, 2), b"")),
        ("no address", udp(mac, BROADCAST, (to("0.0.0.0"), to("255.255.255.255")), (68, 67), b"")),
        ("ARP for another", arp(2, mac, gateway, victim, (gateway, guest.gateway))),
        ("ARP for the gateway", arp(2, mac, BROADCAST, guest.gateway, (mac, guest.gateway))),
        ("ARP with another sender", lying_arp),
        ("DHCP server", udp(mac, BROADCAST, (own, to("255.255.255.255")), (67, 68), b"")),
        ("metadata server", udp(mac, gateway, (own, to("169.254.169.254")), (1, 80), b"")),
        ("IPv6 router advertisement", ethernet(mac, BROADCAST, 0x86dd, &[0x60; 64])),
        ("VLAN tag", tagged),
        ("spanning tree", ethernet(mac, [1, 0x80, 0xc2, 0, 0, 0], 0x0026, &[0x42; 46])),
        ("link-layer discovery", ethernet(mac, [1, 0x80, 0xc2, 0, 0, 14], 0x88cc, &[0; 46])),
    ]
}

/// Two nodes joined by a cable, each with one pod.
fn two_nodes() -> Option<[(Namespace, tempfile::TempDir); 2]> {
    let nodes = [Namespace::new()?, Namespace::new()?].map(|n| (n, tempfile::tempdir().unwrap()));
    let far = nodes[1].0.path();
    nodes[0]
        .0
        .sh(&format!("ip link add eth0 type veth peer name far && ip link set far netns {far}"));
    nodes[1].0.sh("ip link set far name eth0");
    for (number, (namespace, _)) in (11..).zip(&nodes) {
        namespace
            .sh(&format!("ip link set eth0 up && ip address add 10.88.0.{number}/24 dev eth0"));
    }
    Some(nodes)
}

fn peer(number: u8) -> Peer {
    let config = config(number, std::path::Path::new("/"));
    Peer { node_name: config.node_name, node_ip: config.node_ip, pod_cidr: config.pod_cidr }
}

#[test]
fn pods_of_two_nodes_talk_over_the_overlay() {
    let Some(nodes) = two_nodes() else { return };
    let mut guests = Vec::new();
    for (number, (namespace, state)) in (1..).zip(&nodes) {
        guests.push(namespace.run(async || {
            let network = Network::setup(config(number, state.path())).await.unwrap();
            network.set_peers(vec![peer(1), peer(2)]).await.unwrap();
            network.set_peers(vec![peer(1), peer(2)]).await.unwrap();
            Guest::from(network.attach("uid").await.unwrap())
        }));
    }
    let (one, two) = (&guests[0], &guests[1]);
    let hop = one.resolve(one.gateway);
    one.send_udp(hop, two.address, (1000, 2000), &[7; 1400]);
    assert_eq!(two.receive_udp(2000), Some((one.address, 1000, vec![7; 1400])), "source is kept");
    let back = two.resolve(two.gateway);
    two.send_udp(back, one.address, (2000, 1000), b"pong");
    assert_eq!(one.receive_udp(1000), Some((two.address, 2000, b"pong".to_vec())));
    // From the node itself to a pod of the other node: the gateway's address is the source.
    nodes[0].0.run(async || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"node", (two.address, 2001)).unwrap();
    });
    assert_eq!(two.receive_udp(2001).unwrap().0, one.gateway);
    // No pod may speak VXLAN to a node.
    one.send_udp(hop, Ipv4Addr::new(10, 88, 0, 12), (4789, 4789), b"forged");

    nodes[0].0.run(async || {
        let state = nodes[0].1.path();
        let network = Network::setup(config(1, state)).await.unwrap();
        network.set_peers(vec![peer(1)]).await.unwrap();
    });
    let left = nodes[0].0.sh("ip route; ip neigh show dev bhvx; bridge fdb show dev bhvx");
    assert!(!left.contains("10.244.2"), "{left}");
    assert!(!left.contains("10.88.0.12"), "{left}");
}

#[test]
fn traffic_that_leaves_the_cluster_is_masqueraded() {
    let Some(nodes) = two_nodes() else { return };
    let guest = nodes[0].0.run(async || {
        let network = Network::setup(config(1, nodes[0].1.path())).await.unwrap();
        network.add_service_address(Ipv4Addr::new(10, 96, 0, 10)).await.unwrap();
        network.add_service_address(Ipv4Addr::new(10, 96, 0, 10)).await.unwrap();
        Guest::from(network.attach("uid").await.unwrap())
    });
    let hop = guest.resolve(guest.gateway);
    nodes[1].0.run(async || {
        let outside = std::net::UdpSocket::bind("10.88.0.12:5353").unwrap();
        outside.set_read_timeout(Some(support::DEADLINE)).unwrap();
        guest.send_udp(hop, Ipv4Addr::new(10, 88, 0, 12), (1000, 5353), b"out");
        let (_, from) = outside.recv_from(&mut [0; 16]).unwrap();
        assert_eq!(from.ip(), Ipv4Addr::new(10, 88, 0, 11));
        outside.send_to(b"back", from).unwrap();
    });
    assert_eq!(guest.receive_udp(1000).unwrap().2, b"back");
    // The node-local service address answers pods without leaving the node.
    nodes[0].0.run(async || {
        let dns = std::net::UdpSocket::bind("10.96.0.10:53").unwrap();
        dns.set_read_timeout(Some(support::DEADLINE)).unwrap();
        guest.send_udp(hop, Ipv4Addr::new(10, 96, 0, 10), (1001, 53), b"who");
        let (_, from) = dns.recv_from(&mut [0; 16]).unwrap();
        assert_eq!(from.ip(), guest.address);
        dns.send_to(b"me", from).unwrap();
    });
    assert_eq!(guest.receive_udp(1001).unwrap().0, Ipv4Addr::new(10, 96, 0, 10));
}
