//! Tests of packet movement over a socket pair in the place of a tap.

use std::os::unix::net::UnixDatagram;

use super::*;
use crate::test_guest::Guest;

const BUFFER: u64 = 0x10_0000;

/// A device on one end of a datagram pair, which keeps packets apart as a tap does.
fn net(guest: &Guest, features: u64) -> (Net, UnixDatagram) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let tap = File::from(std::os::fd::OwnedFd::from(ours));
    let mut activation = guest.activation(features);
    let (rx, tx) = (activation.take_ring(RX).unwrap(), activation.take_ring(TX).unwrap());
    let active = Active {
        chain: rx.new_chain(),
        rx,
        tx,
        mergeable: features & 1 << VIRTIO_NET_F_MRG_RXBUF != 0,
        poller: activation.poller,
    };
    let spill = vec![0; PACKET_BYTES_MAX];
    let net = Net { tap, mac: [2; 6], mtu: 1450, spill, tap_ready: true, active: Some(active) };
    (net, theirs)
}

#[test]
fn packets_are_spread_over_merged_buffers() {
    let guest = Guest::new(2);
    let (mut net, tap) = net(&guest, 1 << VIRTIO_NET_F_MRG_RXBUF);
    for i in 0..3 {
        guest.add(RX, &[], &[(BUFFER + i * 0x1000, 100)]);
    }
    let packet: Vec<u8> = (0..=249).collect();
    tap.send(&packet).unwrap();
    assert_eq!(net.process(Cause::Fd { token: TOKEN_TAP, events: 1 }).unwrap(), Progress::Idle);
    assert_eq!(guest.used(RX), [100, 100, 50]);
    assert_eq!(guest.read(BUFFER + 10, 2), [3, 0]);
    assert_eq!(guest.read(BUFFER + 0x2000, 50), packet[200..]);
}

#[test]
fn packets_without_room_are_lost_and_buffers_kept() {
    let guest = Guest::new(2);
    let (mut net, tap) = net(&guest, 1 << VIRTIO_NET_F_MRG_RXBUF);
    guest.add(RX, &[], &[(BUFFER, 100)]);
    tap.send(&[1; 150]).unwrap();
    tap.send(&[2; 60]).unwrap();
    assert_eq!(net.process(Cause::Queue(RX)).unwrap(), Progress::Idle);
    assert_eq!(guest.used(RX), [60]);
    assert_eq!(guest.read(BUFFER, 4), [2; 4]);
}

#[test]
fn guest_packets_reach_the_tap_and_runts_do_not() {
    let guest = Guest::new(2);
    let (mut net, tap) = net(&guest, 0);
    guest.write(BUFFER, &[3; 60]);
    guest.add(TX, &[(BUFFER, 10), (BUFFER + 10, 50)], &[]);
    guest.add(TX, &[(BUFFER, 20)], &[]);
    assert_eq!(net.process(Cause::Queue(TX)).unwrap(), Progress::Idle);
    assert_eq!(guest.used(TX), [0, 0]);
    let mut packet = [0; 100];
    assert_eq!(tap.recv(&mut packet).unwrap(), 60);
    tap.set_nonblocking(true).unwrap();
    assert!(tap.recv(&mut packet).is_err());
}
