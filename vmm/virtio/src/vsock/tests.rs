//! Tests of the whole device: a mock guest on its queues, real unix sockets on its host side.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use super::device::{GuestPort, Vsock};
use super::packet::{HEADER_BYTES, Header, Operation, Ports, SHUTDOWN_BOTH, SHUTDOWN_SEND};
use crate::device::{Cause, Device, Progress};
use crate::poller::TOKEN_FIRST;
use crate::test_guest::Guest;

const CID: u64 = 3;
const RX: usize = 0;
const TX: usize = 1;
const TX_BUFFER: u64 = 0x10_0000;
const RX_BUFFER: u64 = 0x12_0000;
const RX_BYTES: u64 = 0x1000;

struct Setup {
    guest: Guest,
    device: Vsock,
    path: std::path::PathBuf,
    seen: usize,
    _directory: tempfile::TempDir,
}

impl Setup {
    fn new(guest_ports: Vec<GuestPort>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vsock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut device = Vsock::new(CID as u32, listener, guest_ports).unwrap();
        let guest = Guest::new(3);
        for i in 0..32 {
            guest.add(RX, &[], &[(RX_BUFFER + i * RX_BYTES, RX_BYTES as u32)]);
        }
        device.activate(guest.activation(0)).unwrap();
        Self { guest, device, path, seen: 0, _directory: directory }
    }

    fn listen_event(&mut self) {
        self.run(Cause::Fd { token: TOKEN_FIRST, events: 1 });
    }

    fn run(&mut self, cause: Cause) {
        while self.device.process(cause).unwrap() == Progress::More {}
    }

    /// Every stream may have become ready.
    fn stream_events(&mut self, events: i32) {
        for token in TOKEN_FIRST + 1..TOKEN_FIRST + 5 {
            self.run(Cause::Fd { token, events: events as u32 });
        }
    }

    fn send(&mut self, ports: Ports, operation: Operation, flags: u32, data: &[u8]) {
        let header = Header {
            ports,
            bytes: data.len() as u32,
            operation,
            flags,
            buffer_bytes: 1 << 18,
            forwarded: 0,
        };
        let raw = header.encode(CID);
        let mut mirrored = raw;
        mirrored[..8].copy_from_slice(&raw[8..16]);
        mirrored[8..16].copy_from_slice(&raw[..8]);
        mirrored[16..20].copy_from_slice(&raw[20..24]);
        mirrored[20..24].copy_from_slice(&raw[16..20]);
        self.guest.write(TX_BUFFER, &mirrored);
        self.guest.write(TX_BUFFER + HEADER_BYTES as u64, data);
        let bytes = (HEADER_BYTES + data.len()) as u32;
        self.guest.add(TX, &[(TX_BUFFER, bytes)], &[]);
        self.run(Cause::Queue(TX));
    }

    /// The next packet that the guest got: ports, operation code, flags, payload.
    fn receive(&mut self) -> Option<(Ports, u16, u32, Vec<u8>)> {
        let written = *self.guest.used(RX).get(self.seen)? as usize;
        let raw = self.guest.read(RX_BUFFER + self.seen as u64 * RX_BYTES, written);
        self.seen += 1;
        let u32_at = |at: usize| u32::from_le_bytes(raw[at..at + 4].try_into().unwrap());
        let ports = Ports { host: u32_at(16), guest: u32_at(20) };
        let code = u16::from_le_bytes(raw[30..32].try_into().unwrap());
        Some((ports, code, u32_at(32), raw[HEADER_BYTES..].to_vec()))
    }

    fn open(&mut self) -> (UnixStream, Ports) {
        let mut client = UnixStream::connect(&self.path).unwrap();
        client.write_all(b"CONNECT 1024\nearly").unwrap();
        self.listen_event();
        let (ports, code, ..) = self.receive().unwrap();
        assert_eq!((ports.guest, code), (1024, 1), "a request");
        self.send(ports, Operation::Response, 0, b"");
        let mut line = [0; 14];
        client.read_exact(&mut line).unwrap();
        assert_eq!(line, *format!("OK {}\n", ports.host).as_bytes());
        let (_, code, _, data) = self.receive().unwrap();
        assert_eq!((code, data.as_slice()), (5, b"early".as_slice()));
        (client, ports)
    }
}

#[test]
fn host_calls_exchange_data_and_close() {
    let mut setup = Setup::new(Vec::new());
    let (mut client, ports) = setup.open();
    setup.send(ports, Operation::Data, 0, b"from the guest");
    let mut data = [0; 14];
    client.read_exact(&mut data).unwrap();
    assert_eq!(&data, b"from the guest");
    client.write_all(b"from the host").unwrap();
    setup.stream_events(libc::EPOLLIN);
    assert_eq!(setup.receive(), Some((ports, 5, 0, b"from the host".to_vec())));
    drop(client);
    setup.stream_events(libc::EPOLLIN | libc::EPOLLHUP);
    assert_eq!(setup.receive(), Some((ports, 4, SHUTDOWN_BOTH, Vec::new())));
    setup.send(ports, Operation::Reset, 0, b"");
    setup.send(ports, Operation::Data, 0, b"late");
    assert_eq!(setup.receive().unwrap().1, 3, "a reset");
}

#[test]
fn half_closed_streams_still_carry_the_other_half() {
    let mut setup = Setup::new(Vec::new());
    let (mut client, ports) = setup.open();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    setup.stream_events(libc::EPOLLIN | libc::EPOLLRDHUP);
    assert_eq!(setup.receive(), Some((ports, 4, SHUTDOWN_SEND, Vec::new())));
    setup.send(ports, Operation::Data, 0, b"answer");
    setup.send(ports, Operation::Shutdown, SHUTDOWN_BOTH, b"");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
    assert_eq!(setup.receive().unwrap().1, 3, "a reset ends it");
}

#[test]
fn refused_calls_close_the_client() {
    let mut setup = Setup::new(Vec::new());
    let mut client = UnixStream::connect(&setup.path).unwrap();
    client.write_all(b"CONNECT 9\n").unwrap();
    setup.listen_event();
    let (ports, ..) = setup.receive().unwrap();
    setup.send(ports, Operation::Reset, 0, b"");
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn bad_greetings_close_the_client() {
    let mut setup = Setup::new(Vec::new());
    let mut client = UnixStream::connect(&setup.path).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    setup.listen_event();
    let mut rest = Vec::new();
    // Closing with unread data resets the stream.
    let _ = client.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert_eq!(setup.receive(), None);
}

#[test]
fn guest_calls_reach_configured_ports_once() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut setup = Setup::new(vec![GuestPort { port: 1023, stream: ours }]);
    let ports = Ports { host: 1023, guest: 5555 };
    setup.send(ports, Operation::Request, 0, b"");
    assert_eq!(setup.receive().unwrap().1, 2, "a response");
    setup.send(ports, Operation::Data, 0, b"ready\n");
    let mut line = [0; 6];
    theirs.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    for host in [1023, 22] {
        setup.send(Ports { host, guest: 5556 }, Operation::Request, 0, b"");
        assert_eq!(setup.receive().unwrap().1, 3, "a reset");
    }
}

#[test]
fn payloads_longer_than_the_packet_are_reset() {
    let mut setup = Setup::new(Vec::new());
    let (_client, ports) = setup.open();
    let header = Header { bytes: 4096, operation: Operation::Data, ..Header::reset(ports) };
    let raw = header.encode(CID);
    let mut mirrored = raw;
    mirrored[..8].copy_from_slice(&raw[8..16]);
    mirrored[8..16].copy_from_slice(&raw[..8]);
    mirrored[16..20].copy_from_slice(&raw[20..24]);
    mirrored[20..24].copy_from_slice(&raw[16..20]);
    setup.guest.write(TX_BUFFER, &mirrored);
    setup.guest.add(TX, &[(TX_BUFFER, HEADER_BYTES as u32)], &[]);
    setup.run(Cause::Queue(TX));
    assert_eq!(setup.receive().unwrap().1, 3, "a reset");
}
