//! Names and hardware addresses, all derived: from the pod's uid, its address, or the node's.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

/// The bridge all taps of pods are ports of.
pub const BRIDGE: &str = "bh0";
/// The VXLAN device to the other nodes.
pub const OVERLAY: &str = "bhvx";
/// The dummy link that carries addresses of node-local services.
pub const SERVICE_LINK: &str = "bh-dns";
/// First letters of every tap; the rules of `filter` deny all such links that they do not know.
pub const TAP_PREFIX: &str = "tap";

/// `tap` and 11 hexadecimal digits of the uid's hash: 14 characters, IFNAMSIZ allows 15.
pub fn tap_name(pod_uid: &str) -> String {
    let digest = hex::encode(Sha256::digest(pod_uid.as_bytes()));
    format!("{TAP_PREFIX}{}", &digest[..11])
}

/// Hardware address of the interface with this IPv4 address (pods and gateway).
pub fn pod_mac(address: Ipv4Addr) -> [u8; 6] {
    with_prefix([0x02, 0x62], address)
}

/// Hardware address of the VXLAN device of the node with this address.
pub fn vtep_mac(node_ip: Ipv4Addr) -> [u8; 6] {
    with_prefix([0x02, 0x76], node_ip)
}

/// `02:62:0a:f4:01:02`.
pub fn format_mac(mac: [u8; 6]) -> String {
    let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

fn with_prefix(prefix: [u8; 2], address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [prefix[0], prefix[1], a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_names_fit_and_differ() {
        let one = tap_name("7f3c1a52-0000-4000-8000-000000000001");
        let two = tap_name("7f3c1a52-0000-4000-8000-000000000002");
        assert_eq!(one.len(), 14);
        assert_ne!(one, two);
        assert_eq!(one, tap_name("7f3c1a52-0000-4000-8000-000000000001"));
    }

    #[test]
    fn macs_are_local_unicast() {
        let mac = pod_mac(Ipv4Addr::new(10, 244, 1, 2));
        assert_eq!(format_mac(mac), "02:62:0a:f4:01:02");
        assert_eq!(mac[0] & 0b11, 0b10);
    }
}
