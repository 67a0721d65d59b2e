//! Kernel switches of the pod network, written below /proc/sys of the current network namespace.

use std::fs;
use std::io;
use std::path::Path;

use crate::names::{BRIDGE, OVERLAY};

#[derive(Debug, thiserror::Error)]
#[error("set {name} to {value}")]
pub struct Error {
    name: String,
    value: &'static str,
    source: io::Error,
}

/// One switch: name below /proc/sys, value, and whether the kernel may lack it.
#[derive(Debug, PartialEq, Eq)]
struct Switch {
    name: String,
    value: &'static str,
    optional: bool,
}

/// Sets all switches of the node. Needs the bridge and the overlay device.
pub fn apply() -> Result<(), Error> {
    switches().into_iter().try_for_each(set)
}

/// Keeps IPv6 off a link: pods have IPv4 addresses only, and nobody filters what the host would say.
pub fn disable_ipv6(link: &str) -> Result<(), Error> {
    set(optional(format!("net/ipv6/conf/{link}/disable_ipv6"), "1"))
}

fn switches() -> Vec<Switch> {
    let mut all = vec![
        required("net/ipv4/ip_forward".into(), "1"),
        // Ports of the bridge are isolated: the gateway answers ARP for their neighbours on the same
        // link, at once, and does not tell them to talk directly.
        required(format!("net/ipv4/conf/{BRIDGE}/proxy_arp_pvlan"), "1"),
        required(format!("net/ipv4/neigh/{BRIDGE}/proxy_delay"), "0"),
        required("net/ipv4/conf/all/send_redirects".into(), "0"),
        required(format!("net/ipv4/conf/{BRIDGE}/send_redirects"), "0"),
        required(format!("net/ipv4/conf/{BRIDGE}/accept_redirects"), "0"),
        // Second line behind the bridge rules: sources must be on the link they come from.
        required(format!("net/ipv4/conf/{BRIDGE}/rp_filter"), "1"),
        required(format!("net/ipv4/conf/{OVERLAY}/rp_filter"), "1"),
        optional(format!("net/ipv6/conf/{BRIDGE}/disable_ipv6"), "1"),
        optional(format!("net/ipv6/conf/{OVERLAY}/disable_ipv6"), "1"),
    ];
    // Bridged frames must not pass the IP hooks a second time.
    for hook in ["iptables", "ip6tables", "arptables"] {
        all.push(optional(format!("net/bridge/bridge-nf-call-{hook}"), "0"));
    }
    all
}

fn required(name: String, value: &'static str) -> Switch {
    Switch { name, value, optional: false }
}

fn optional(name: String, value: &'static str) -> Switch {
    Switch { name, value, optional: true }
}

fn set(switch: Switch) -> Result<(), Error> {
    let Switch { name, value, optional } = switch;
    let path = Path::new("/proc/sys").join(&name);
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    match fs::write(&path, value) {
        Err(source) if optional && source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| Error { name, value, source }),
    }
}
