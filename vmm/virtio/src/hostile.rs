//! A hostile driver made of arbitrary bytes: it sets descriptors, ring indices and buffers as the bytes say and drives a
//! device. What must hold whatever they are: nothing panics, and each call comes back within a bounded number of turns.
//! Used by seeded tests here and by the fuzz target in `vmm/fuzz`.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use crate::block::Block;
use crate::device::{Cause, Device, Progress};
use crate::net::Net;
use crate::poller::TOKEN_FIRST;
use crate::rng::Rng;
use crate::test_guest::Guest;
use crate::vsock::{GuestPort, Vsock};

/// Most turns of a device per event: queues hold 256 requests, and a turn takes several.
const TURNS_MAX: usize = 2048;
/// Bytes of one descriptor in the input.
const DESCRIPTOR_BYTES: usize = 8;
/// Where descriptors mostly point.
const BUFFERS: u64 = 0x10_0000;
const QUEUES: usize = 3;
const DISK_BYTES: usize = 64 << 10;
const GUEST_PORT: u32 = 1023;

/// Takes the input apart; an exhausted one gives zeroes.
struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        head
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}

/// A device and the host's ends of what it talks to.
struct Subject {
    device: Box<dyn Device>,
    queues: usize,
    /// Kept open, and read so that nothing fills up.
    tap: Option<UnixDatagram>,
    _stream: Option<UnixStream>,
}

fn make(kind: u8) -> Subject {
    match kind % 4 {
        0 => {
            let mut disk = tempfile::tempfile().expect("a temporary file");
            disk.write_all(&vec![7; DISK_BYTES]).expect("room for a small file");
            let device = Block::new(disk, kind & 4 != 0, "hostile").expect("a file is a disk");
            Subject { device: Box::new(device), queues: 1, tap: None, _stream: None }
        }
        1 => {
            let (ours, theirs) = UnixDatagram::pair().expect("a socket pair");
            for end in [&ours, &theirs] {
                end.set_nonblocking(true).expect("sockets can");
            }
            let device = Net::on_socket(OwnedFd::from(ours));
            Subject { device: Box::new(device), queues: 2, tap: Some(theirs), _stream: None }
        }
        2 => {
            let directory = tempfile::tempdir().expect("a temporary folder");
            let listener = UnixListener::bind(directory.path().join("vsock")).expect("a socket");
            let (stream, theirs) = UnixStream::pair().expect("a socket pair");
            let ports = vec![GuestPort { port: GUEST_PORT, stream: theirs }];
            let device = Vsock::new(3, listener, ports).expect("sockets are fine");
            Subject { device: Box::new(device), queues: 3, tap: None, _stream: Some(stream) }
        }
        _ => Subject { device: Box::new(Rng::default()), queues: 1, tap: None, _stream: None },
    }
}

/// Drives the device that the first byte names through the rest of `data`.
///
/// # Panics
/// When a device breaks its promise.
pub fn drive(data: &[u8]) {
    let mut input = Input { bytes: data };
    let mut subject = make(input.byte());
    let guest = Guest::new(QUEUES);
    let features = u64::from(input.word()) << 16 | u64::from(input.word());
    if subject.device.activate(guest.activation(features)).is_err() {
        return;
    }
    while !input.bytes.is_empty() {
        let queue = usize::from(input.byte()) % subject.queues;
        match input.byte() % 8 {
            0..=2 => add_chain(&guest, queue, &mut input),
            3 => write_buffer(&guest, &mut input),
            4 => guest.set_available(queue, input.word()),
            5 => {
                if let Some(tap) = &subject.tap {
                    let count = usize::from(input.byte()) * 8;
                    // A full socket drops the packet, as a tap does.
                    let _ = tap.send(input.take(count));
                }
            }
            6 => {
                let token = TOKEN_FIRST + u32::from(input.byte() % 4);
                let events = u32::from(input.byte());
                if !settle(&mut subject, Cause::Fd { token, events }) {
                    subject = restart(subject, &guest, features);
                }
            }
            _ => {
                if !settle(&mut subject, Cause::Queue(queue)) {
                    subject = restart(subject, &guest, features);
                }
            }
        }
    }
    for queue in 0..subject.queues {
        if !settle(&mut subject, Cause::Queue(queue)) {
            return;
        }
    }
}

/// A driver resets a device that stopped, and goes on.
fn restart(mut subject: Subject, guest: &Guest, features: u64) -> Subject {
    subject.device.reset();
    // What cannot be activated again is a rest without events.
    let _ = subject.device.activate(guest.activation(features));
    subject
}

/// Runs the device until it has nothing to do; false when it stopped for good.
fn settle(subject: &mut Subject, cause: Cause) -> bool {
    let mut cause = cause;
    for _ in 0..TURNS_MAX {
        let progress = subject.device.process(cause);
        if let Some(tap) = &subject.tap {
            let mut packet = [0; 2048];
            while tap.recv(&mut packet).is_ok() {}
        }
        match progress {
            Ok(Progress::Idle) => return true,
            Ok(Progress::More) => cause = Cause::Again,
            Err(_) => return false,
        }
    }
    panic!("the device does not come to rest");
}

/// Up to eight descriptors, each of eight bytes: mostly plausible, sometimes anything.
fn add_chain(guest: &Guest, queue: usize, input: &mut Input<'_>) {
    let count = usize::from(input.byte() % 8) + 1;
    let mut chain = Vec::with_capacity(count);
    for index in 0..count {
        let raw = input.take(DESCRIPTOR_BYTES);
        let at = |index: usize| raw.get(index).copied().unwrap_or(0);
        let near = BUFFERS + u64::from(at(0)) * 0x100 + u64::from(at(1));
        let wild = u64::from_le_bytes([at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)]);
        let start = if at(5) == 0xff { wild } else { near };
        let bytes = match at(6) {
            0xff => u32::MAX - u32::from(at(2)),
            scale => u32::from(u16::from_le_bytes([at(2), at(3)])) >> (scale % 16),
        };
        // NEXT where another follows, unless the byte says otherwise; WRITE and INDIRECT as the byte says.
        let follows = u16::from(index + 1 < count);
        let flags = match at(4) {
            odd if odd & 0x80 != 0 => u16::from(odd) & 7,
            plain => follows | u16::from(plain) & 2,
        };
        let next = if at(7) == 0xff { u16::from(at(1)) } else { guest.next_index(queue, index) };
        chain.push((start, bytes, flags, next));
    }
    guest.add_raw(queue, &chain);
}

fn write_buffer(guest: &Guest, input: &mut Input<'_>) {
    let start = BUFFERS + u64::from(input.byte()) * 0x100;
    let count = usize::from(input.byte());
    guest.write(start, input.take(count));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator: the same seeds give the same inputs everywhere.
    fn bytes(seed: u64, count: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn no_bytes_of_a_driver_break_a_device() {
        // A failing seed is printed by the panic's backtrace through this loop: keep it as a case of its own.
        for seed in 0..400 {
            for kind in 0..5 {
                let mut data = bytes(seed * 8 + u64::from(kind), 600);
                data[0] = kind;
                if std::panic::catch_unwind(|| drive(&data)).is_err() {
                    panic!("seed {seed}, device {kind}");
                }
            }
        }
    }

    #[test]
    fn short_and_empty_inputs_are_fine() {
        for kind in 0..4 {
            drive(&[kind]);
            drive(&[kind, 0, 0, 0, 0, 0, 7]);
        }
        drive(&[]);
    }
}
