//! Which offloads the guest and the tap may use: features for the driver, flags for the tap.

use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_MTU,
};

/// What this device offers, apart from the MTU.
const OFFERED: [u32; 8] = [
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_MAC,
    VIRTIO_NET_F_MRG_RXBUF,
];

/// Offered feature bits.
pub fn offered(has_mtu: bool) -> u64 {
    let mtu = if has_mtu { 1 << VIRTIO_NET_F_MTU } else { 0 };
    OFFERED.iter().fold(mtu, |all, bit| all | 1u64 << bit)
}

/// What the tap may hand to a guest that negotiated `features` (`TUN_F_*`).
pub fn tap_flags(features: u64) -> libc::c_uint {
    let has = |bit: u32| features & 1 << bit != 0;
    if !has(VIRTIO_NET_F_GUEST_CSUM) {
        return 0;
    }
    let mut flags = libc::TUN_F_CSUM;
    if has(VIRTIO_NET_F_GUEST_TSO4) {
        flags |= libc::TUN_F_TSO4;
    }
    if has(VIRTIO_NET_F_GUEST_TSO6) {
        flags |= libc::TUN_F_TSO6;
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segmentation_needs_checksums() {
        let bit = |bit: u32| 1u64 << bit;
        let (csum, tso4) = (bit(VIRTIO_NET_F_GUEST_CSUM), bit(VIRTIO_NET_F_GUEST_TSO4));
        assert_eq!(tap_flags(0), 0);
        assert_eq!(tap_flags(tso4), 0);
        assert_eq!(tap_flags(csum), libc::TUN_F_CSUM);
        assert_eq!(tap_flags(csum | tso4), libc::TUN_F_CSUM | libc::TUN_F_TSO4);
        assert_eq!(offered(false) & bit(VIRTIO_NET_F_MTU), 0);
        assert_ne!(offered(true) & bit(VIRTIO_NET_F_MTU), 0);
    }
}
