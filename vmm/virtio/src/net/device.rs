//! The network device's state: packets from the tap go into the receive queue, packets of the
//! transmit queue go to the tap.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;

use virtio_bindings::bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use vmm_sys_util::epoll::EventSet;

use crate::chain::Chain;
use crate::device::{Activation, Cause, Device, Error as DeviceError, Profile, Progress};
use crate::net::offload;
use crate::poller::{Poller, TOKEN_FIRST};
use crate::ring::Ring;
use crate::sys;

const RX: usize = 0;
const TX: usize = 1;
const TOKEN_TAP: u32 = TOKEN_FIRST;
/// Length of `struct virtio_net_hdr_v1` (virtio 5.1.6).
const HEADER_BYTES: usize = 12;
/// Offset of `num_buffers` in the header.
const NUM_BUFFERS_OFFSET: usize = 10;
/// Longest packet: 64 KiB of segmented data, an Ethernet and a virtio header, rounded up.
const PACKET_BYTES_MAX: usize = 66 << 10;
/// Shortest thing that a guest may send: a header and an Ethernet header.
const SEND_BYTES_MIN: usize = HEADER_BYTES + 14;
/// Packets in each direction before other devices get a turn.
const PACKETS_PER_TURN: usize = 64;

/// Why a network interface was refused at start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tap was not opened as it must be.
    #[error("prepare the tap")]
    Tap(#[source] std::io::Error),
}

struct Active {
    rx: Ring,
    tx: Ring,
    chain: Chain,
    poller: Poller,
    /// The guest merges receive buffers.
    mergeable: bool,
}

/// The device.
pub struct Net {
    tap: File,
    mac: [u8; 6],
    mtu: u16,
    /// Takes what does not fit in the guest's first receive buffer.
    spill: Vec<u8>,
    /// The tap may have packets: an edge was seen since it last said that it has none.
    tap_ready: bool,
    active: Option<Active>,
}

impl Net {
    /// An interface on `tap`. An `mtu` of 0 is not told to the guest.
    pub fn new(tap: File, mac: [u8; 6], mtu: u16) -> Result<Self, Error> {
        let fd = tap.as_raw_fd();
        sys::set_nonblocking(fd).map_err(Error::Tap)?;
        sys::set_tap_header_bytes(fd, HEADER_BYTES as libc::c_int).map_err(Error::Tap)?;
        sys::set_tap_offloads(fd, 0).map_err(Error::Tap)?;
        let spill = Vec::new();
        Ok(Self { tap, mac, mtu, spill, tap_ready: false, active: None })
    }

    /// An interface on a datagram socket that does not block, which keeps packets apart as a tap does.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn on_socket(socket: std::os::fd::OwnedFd) -> Self {
        let (tap, spill) = (File::from(socket), Vec::new());
        Self { tap, mac: [2; 6], mtu: 1450, spill, tap_ready: false, active: None }
    }

    fn config(&self) -> Vec<u8> {
        let mut config = self.mac.to_vec();
        config.extend([0; 4]); // status and queue pairs, not offered
        config.extend(self.mtu.to_le_bytes());
        config
    }
}

/// Moves packets from the tap to the guest.
fn receive(
    tap: &File,
    spill: &mut [u8],
    tap_ready: &mut bool,
    active: &mut Active,
) -> Result<Progress, DeviceError> {
    let mut progress = Progress::More;
    for _ in 0..PACKETS_PER_TURN {
        if !*tap_ready || !pop_receive_buffer(active)? {
            progress = Progress::Idle;
            break;
        }
        let chain = &active.chain;
        let target = chain.writable.range(0, PACKET_BYTES_MAX).spill_into(spill);
        match sys::read(tap.as_raw_fd(), &target.list) {
            Ok(bytes) => deliver(active, spill, bytes)?,
            Err(error) => {
                active.rx.undo_pop();
                if error.kind() != ErrorKind::WouldBlock {
                    // The tap is down or gone; it will report when it has packets again.
                    tracing::debug!("read the tap: {error}");
                }
                *tap_ready = false;
            }
        }
    }
    active.rx.notify()?;
    Ok(progress)
}

/// Takes the next receive buffer that can hold a header. Without one, asks for a kick.
fn pop_receive_buffer(active: &mut Active) -> Result<bool, DeviceError> {
    loop {
        if active.rx.pop(&mut active.chain)? {
            if active.chain.writable.bytes() >= HEADER_BYTES {
                active.rx.disable_kicks()?;
                return Ok(true);
            }
            active.rx.complete(active.chain.head, 0)?;
        } else if !active.rx.enable_kicks()? {
            return Ok(false);
        }
    }
}

/// Completes a packet of `bytes` that lies in the popped buffer and, beyond that, in `spill`.
fn deliver(active: &mut Active, spill: &[u8], bytes: usize) -> Result<(), DeviceError> {
    let room = active.chain.writable.bytes().min(PACKET_BYTES_MAX);
    let first = bytes.min(room);
    let mut rest = spill.get(..bytes - first).unwrap_or_default();
    let head = active.chain.head;
    if rest.is_empty() {
        active.chain.writable.copy_in(NUM_BUFFERS_OFFSET, &1u16.to_le_bytes());
        return Ok(active.rx.complete(head, first)?);
    }
    if !active.mergeable {
        // The guest's buffers are too small for what it negotiated: the packet is lost.
        return Ok(active.rx.complete(head, 0)?);
    }
    // The header is completed last, when the number of buffers is known. All buffers of a packet are
    // used in order, so the others are collected first.
    let header = std::mem::replace(&mut active.chain, active.rx.new_chain());
    let mut parts = vec![(head, first)];
    while !rest.is_empty() {
        if !active.rx.pop(&mut active.chain)? {
            // Not enough buffers: give them all back, the packet is lost.
            for _ in &parts {
                active.rx.undo_pop();
            }
            return Ok(());
        }
        let count = active.chain.writable.copy_in(0, rest);
        parts.push((active.chain.head, count));
        rest = &rest[count..];
    }
    // A packet has at most as many parts as a queue has entries.
    header.writable.copy_in(NUM_BUFFERS_OFFSET, &(parts.len() as u16).to_le_bytes());
    for (head, count) in parts {
        active.rx.complete(head, count)?;
    }
    Ok(())
}

/// Moves packets from the guest to the tap.
fn transmit(tap: &File, active: &mut Active) -> Result<Progress, DeviceError> {
    let mut progress = Progress::More;
    for _ in 0..PACKETS_PER_TURN {
        if !active.tx.pop(&mut active.chain)? {
            if active.tx.enable_kicks()? {
                continue;
            }
            progress = Progress::Idle;
            break;
        }
        let packet = &active.chain.readable;
        if (SEND_BYTES_MIN..=PACKET_BYTES_MAX).contains(&packet.bytes()) {
            let list = packet.range(0, PACKET_BYTES_MAX);
            // A tap that is full or down loses packets, as a cable does.
            if let Err(error) = sys::write(tap.as_raw_fd(), list.as_slice()) {
                tracing::trace!("write the tap: {error}");
            }
        }
        active.tx.complete(active.chain.head, 0)?;
    }
    active.tx.notify()?;
    Ok(progress)
}

impl Device for Net {
    fn name(&self) -> &'static str {
        "net"
    }

    fn profile(&self) -> Profile {
        let features = offload::offered(self.mtu != 0);
        Profile { id: VIRTIO_ID_NET, features, queues: 2, config: self.config() }
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), DeviceError> {
        let (rx, tx) = (activation.take_ring(RX)?, activation.take_ring(TX)?);
        sys::set_tap_offloads(self.tap.as_raw_fd(), offload::tap_flags(activation.features))
            .map_err(|source| DeviceError::Host { what: "set the tap's offloads", source })?;
        activation
            .poller
            .add(self.tap.as_raw_fd(), TOKEN_TAP, EventSet::IN)
            .map_err(|source| DeviceError::Host { what: "watch the tap", source })?;
        self.spill.resize(PACKET_BYTES_MAX, 0);
        // What waits in the tap since before is read at once.
        self.tap_ready = true;
        self.active = Some(Active {
            chain: rx.new_chain(),
            rx,
            tx,
            mergeable: activation.has(VIRTIO_NET_F_MRG_RXBUF),
            poller: activation.poller,
        });
        Ok(())
    }

    fn process(&mut self, cause: Cause) -> Result<Progress, DeviceError> {
        let Some(active) = &mut self.active else { return Ok(Progress::Idle) };
        if let Cause::Fd { .. } = cause {
            self.tap_ready = true;
        }
        let mut progress = Progress::Idle;
        if cause != Cause::Queue(TX) {
            progress = receive(&self.tap, &mut self.spill, &mut self.tap_ready, active)?;
        }
        let transmits = matches!(cause, Cause::Queue(TX) | Cause::Again);
        if transmits && transmit(&self.tap, active)? == Progress::More {
            progress = Progress::More;
        }
        Ok(progress)
    }

    fn reset(&mut self) {
        if let Some(active) = self.active.take() {
            active.poller.remove(self.tap.as_raw_fd());
        }
        self.spill = Vec::new();
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
