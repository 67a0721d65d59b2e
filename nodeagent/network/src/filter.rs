//! The nftables scripts of the pod network: anti-spoofing per tap, masquerade, overlay protection.
//! Pure text; `nftables` loads it. Two tables: `bridge bulkhead` and `inet bulkhead-network`.
//!
//! Anti-spoofing is deny by default: a frame from any tap passes only if (tap, hardware address,
//! address) is an element of `pods`, so a tap without its element is mute and order of set-up does
//! not matter. Only ARP and IPv4 are let in, which also keeps out router advertisements and ND.

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::links::VXLAN_PORT;
use crate::names::{self, BRIDGE, OVERLAY, TAP_PREFIX};
use crate::{Config, addresses};

/// Where clouds keep credentials for whoever asks.
const METADATA_SERVICE: &str = "169.254.169.254";

/// The whole rule set with the pods known now; replaces what is there in one transaction.
pub fn full_script<'a>(config: &Config, pods: impl Iterator<Item = (&'a str, Ipv4Addr)>) -> String {
    let elements: Vec<String> = pods.map(|(uid, address)| element(uid, address)).collect();
    let mut script = bridge_table(&elements);
    script.push_str(&inet_table(config));
    script
}

/// Lets the pod's frames through.
pub fn allow_script(uid: &str, address: Ipv4Addr) -> String {
    format!("add element bridge bulkhead pods {{ {} }}\n", element(uid, address))
}

/// Takes the pod's element away, present or not: the add makes the delete succeed.
pub fn forget_script(uid: &str, address: Ipv4Addr) -> String {
    let element = element(uid, address);
    format!(
        "add element bridge bulkhead pods {{ {element} }}\n\
         delete element bridge bulkhead pods {{ {element} }}\n"
    )
}

/// Makes `nodes` the only senders of overlay packets.
pub fn nodes_script(nodes: impl Iterator<Item = Ipv4Addr>) -> String {
    let mut script = "flush set inet bulkhead-network nodes\n".to_owned();
    let list: Vec<String> = nodes.map(|node| node.to_string()).collect();
    if !list.is_empty() {
        let _ =
            writeln!(script, "add element inet bulkhead-network nodes {{ {} }}", list.join(", "));
    }
    script
}

fn element(uid: &str, address: Ipv4Addr) -> String {
    let mac = names::format_mac(names::pod_mac(address));
    format!("\"{}\" . {mac} . {address}", names::tap_name(uid))
}

fn bridge_table(elements: &[String]) -> String {
    let elements = if elements.is_empty() {
        String::new()
    } else {
        format!("elements = {{ {} }}", elements.join(", "))
    };
    format!(
        r#"table bridge bulkhead
delete table bridge bulkhead
table bridge bulkhead {{
  set pods {{
    type ifname . ether_addr . ipv4_addr
    {elements}
  }}
  chain guest {{
    ether type arp arp operation {{ request, reply }} iifname . arp saddr ether . arp saddr ip @pods iifname . ether saddr . arp saddr ip @pods accept
    ether type ip ip daddr {METADATA_SERVICE} drop
    ether type ip udp sport 67 drop
    ether type ip iifname . ether saddr . ip saddr @pods accept
    counter drop
  }}
  chain prerouting {{
    type filter hook prerouting priority -300; policy accept;
    iifname "{TAP_PREFIX}*" jump guest
  }}
  chain input {{
    type filter hook input priority -300; policy accept;
    iifname "{TAP_PREFIX}*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
  }}
}}
"#
    )
}

/// `nodes` are the peers: only they may send overlay packets, and no pod may forge one towards them
/// (it would leave masqueraded, with this node's address).
fn inet_table(config: &Config) -> String {
    let Config { pod_cidr, cluster_cidr, .. } = config;
    let gateway = addresses::gateway(*pod_cidr);
    format!(
        r#"table inet bulkhead-network
delete table inet bulkhead-network
table inet bulkhead-network {{
  set nodes {{
    type ipv4_addr
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    udp dport {VXLAN_PORT} iifname "{BRIDGE}" drop
    udp dport {VXLAN_PORT} ip saddr != @nodes drop
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname "{BRIDGE}" udp dport {VXLAN_PORT} ip daddr @nodes drop
    iifname "{OVERLAY}" ip saddr != {cluster_cidr} drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname {{ "{BRIDGE}", "{OVERLAY}" }} return
    ip saddr {gateway} return
    ip saddr {pod_cidr} ip daddr != {cluster_cidr} ip daddr != 224.0.0.0/4 masquerade
  }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            node_name: "node-1".into(),
            node_ip: Ipv4Addr::new(10, 88, 0, 11),
            uplink: "eth0".into(),
            pod_cidr: "10.244.1.0/24".parse().unwrap(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            mtu: 1500,
            state_dir: "/nowhere".into(),
        }
    }

    #[test]
    fn the_full_script_holds_every_pod() {
        let pods = [("a", Ipv4Addr::new(10, 244, 1, 2)), ("b", Ipv4Addr::new(10, 244, 1, 3))];
        let script = full_script(&config(), pods.into_iter());
        for (uid, address) in pods {
            assert!(script.contains(&element(uid, address)), "{uid}");
        }
        assert!(full_script(&config(), std::iter::empty()).contains("set pods"));
        assert!(!full_script(&config(), std::iter::empty()).contains("elements"));
    }

    #[test]
    fn a_pod_is_one_element() {
        let address = Ipv4Addr::new(10, 244, 1, 2);
        let add = allow_script("a", address);
        assert_eq!(add.lines().count(), 1);
        assert!(add.contains("02:62:0a:f4:01:02 . 10.244.1.2"), "{add}");
        assert!(forget_script("a", address).starts_with(&add));
    }

    #[test]
    fn no_nodes_is_an_empty_set() {
        assert_eq!(nodes_script(std::iter::empty()).lines().count(), 1);
        let one = nodes_script([Ipv4Addr::new(10, 88, 0, 12)].into_iter());
        assert!(one.ends_with("nodes { 10.88.0.12 }\n"));
    }
}
