//! Network namespaces and guests for tests: a guest here is a test that reads and writes frames on
//! the tap as a VMM would.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use network::{Attachment, Config};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

pub const VNET_HEADER_BYTES: usize = 12;
pub const DEADLINE: Duration = Duration::from_secs(5);
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A network namespace of this test.
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// `None` after printing why when this machine cannot.
    pub fn new() -> Option<Namespace> {
        if let Some(missing) = missing() {
            println!("skipped: {missing}");
            return None;
        }
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Namespace { file: made.join().unwrap() };
        namespace.sh("ip link set lo up");
        Some(namespace)
    }

    /// Runs `work` on a thread inside the namespace, with a runtime that lives as long.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(work())
            });
            inside.join().unwrap()
        })
    }

    pub fn sh(&self, script: &str) -> String {
        self.run(async || {
            let output = Command::new("sh").args(["-ec", script]).output().unwrap();
            assert!(
                output.status.success(),
                "{script}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        })
    }

    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root".into());
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("/dev/net/tun".into());
    }
    for program in ["nft", "ip"] {
        if Command::new(program).arg("-V").output().is_err() {
            return Some(format!("the program {program}"));
        }
    }
    let probes = [
        ("bridges", "ip link add name probe0 type bridge"),
        ("vxlan", "ip link add name probe1 type vxlan id 1 dstport 4789"),
        ("nftables for bridges", "nft add table bridge probe"),
        (
            "masquerading by nftables",
            "nft 'add table inet probe; \
             add chain inet probe c { type nat hook postrouting priority 100; }; \
             add rule inet probe c masquerade'",
        ),
    ];
    let probed = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        probes.into_iter().find_map(|(what, script)| {
            let output = Command::new("sh").args(["-c", script]).output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr).replace('\n', "; ");
            (!output.status.success()).then(|| format!("{what} in this kernel ({complaint})"))
        })
    });
    probed.join().unwrap()
}

/// Node `number` of a test cluster: 10.88.0.(10 + number), pods 10.244.(number).0/24.
pub fn config(number: u8, state_dir: &std::path::Path) -> Config {
    Config {
        node_name: format!("node-{number}"),
        node_ip: Ipv4Addr::new(10, 88, 0, 10 + number),
        uplink: "eth0".into(),
        pod_cidr: format!("10.244.{number}.0/24").parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        mtu: 1500,
        state_dir: state_dir.to_owned(),
    }
}

/// What a guest would do on its tap.
pub struct Guest {
    tap: OwnedFd,
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
}

impl From<Attachment> for Guest {
    fn from(attachment: Attachment) -> Guest {
        let Attachment { tap, mac, address, gateway, .. } = attachment;
        Guest { tap, mac, address, gateway }
    }
}

impl Guest {
    pub fn send(&self, frame: &[u8]) {
        let mut buffer = vec![0; VNET_HEADER_BYTES];
        buffer.extend_from_slice(frame);
        nix::unistd::write(&self.tap, &buffer).unwrap();
    }

    /// The next frame that `wanted` accepts; ARP requests for this guest are answered meanwhile.
    pub fn receive(&self, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            let Some(frame) = self.read(end) else { continue };
            if wanted(&frame) {
                return Some(frame);
            }
            if is_arp_request_for(&frame, self.address) {
                let asker: [u8; 6] = frame[22..28].try_into().unwrap();
                let address = Ipv4Addr::from(<[u8; 4]>::try_from(&frame[28..32]).unwrap());
                self.send(&arp(2, self.mac, asker, self.address, (asker, address)));
            }
        }
        None
    }

    fn read(&self, end: Instant) -> Option<Vec<u8>> {
        let left = end.saturating_duration_since(Instant::now()).as_millis();
        let mut polled = [PollFd::new(self.tap.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::try_from(left.min(1000)).unwrap()).unwrap();
        let mut buffer = [0; 70000];
        match nix::unistd::read(&self.tap, &mut buffer) {
            Ok(length) => Some(buffer[VNET_HEADER_BYTES..length].to_vec()),
            Err(nix::Error::EAGAIN) => None,
            Err(error) => panic!("read tap: {error}"),
        }
    }

    /// Asks by ARP who has `address`.
    pub fn resolve(&self, address: Ipv4Addr) -> [u8; 6] {
        self.send(&arp(1, self.mac, BROADCAST, self.address, ([0; 6], address)));
        let answer = self
            .receive(|f| {
                f.len() >= 42 && f[12..14] == [8, 6] && f[21] == 2 && f[28..32] == address.octets()
            })
            .unwrap_or_else(|| panic!("no ARP answer for {address}"));
        answer[22..28].try_into().unwrap()
    }

    /// A UDP datagram by way of `next_hop`.
    pub fn send_udp(&self, next_hop: [u8; 6], to: Ipv4Addr, ports: (u16, u16), data: &[u8]) {
        self.send(&udp(self.mac, next_hop, (self.address, to), ports, data));
    }

    pub fn receive_udp(&self, port: u16) -> Option<(Ipv4Addr, u16, Vec<u8>)> {
        let frame = self.receive(|f| {
            f.len() >= 42 && f[12..14] == [8, 0] && f[23] == 17 && f[36..38] == port.to_be_bytes()
        })?;
        let from = Ipv4Addr::from(<[u8; 4]>::try_from(&frame[26..30]).unwrap());
        let length = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
        Some((from, u16::from_be_bytes([frame[34], frame[35]]), frame[42..34 + length].to_vec()))
    }
}

fn is_arp_request_for(frame: &[u8], address: Ipv4Addr) -> bool {
    frame.len() >= 42
        && frame[12..14] == [8, 6]
        && frame[21] == 1
        && frame[38..42] == address.octets()
}

pub fn ethernet(from: [u8; 6], to: [u8; 6], kind: u16, body: &[u8]) -> Vec<u8> {
    [&to[..], &from[..], &kind.to_be_bytes(), body].concat()
}

/// ARP frame: operation 1 asks, 2 answers. `target` is what the target fields say.
pub fn arp(
    operation: u8,
    mac: [u8; 6],
    to: [u8; 6],
    address: Ipv4Addr,
    target: ([u8; 6], Ipv4Addr),
) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    body.extend(mac);
    body.extend(address.octets());
    body.extend(target.0);
    body.extend(target.1.octets());
    ethernet(mac, to, 0x0806, &body)
}

pub fn udp(
    from: [u8; 6],
    to: [u8; 6],
    addresses: (Ipv4Addr, Ipv4Addr),
    ports: (u16, u16),
    data: &[u8],
) -> Vec<u8> {
    let udp_length = u16::try_from(8 + data.len()).unwrap();
    let mut body = vec![0x45, 0];
    body.extend((20 + udp_length).to_be_bytes());
    body.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    body.extend(addresses.0.octets());
    body.extend(addresses.1.octets());
    let sum = checksum(&body);
    body[10..12].copy_from_slice(&sum.to_be_bytes());
    body.extend(ports.0.to_be_bytes());
    body.extend(ports.1.to_be_bytes());
    body.extend(udp_length.to_be_bytes());
    body.extend([0, 0]);
    body.extend(data);
    ethernet(from, to, 0x0800, &body)
}

fn checksum(header: &[u8]) -> u16 {
    let sum: u32 =
        header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

/// Sees the frames that one link of the current namespace receives.
pub struct Listener {
    socket: OwnedFd,
    link: usize,
}

impl Listener {
    pub fn new(link: &str) -> Listener {
        use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
        let kind = (SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let socket = socket(AddressFamily::Packet, kind.0, kind.1, kind.2).unwrap();
        let link = nix::net::if_::if_nametoindex(link).unwrap() as usize;
        Listener { socket, link }
    }

    /// The next frame the link received. Packet sockets see all links unless bound, so frames of
    /// the others (the tap, before any filter) and outgoing ones are passed over here.
    pub fn next(&self) -> Vec<u8> {
        use nix::sys::socket::{LinkAddr, recvfrom};
        const PACKET_OUTGOING: u8 = 4;
        let mut buffer = [0; 2048];
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, PollTimeout::from(1000_u16)).unwrap() == 0 {
                continue;
            }
            let (length, from) =
                recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer).unwrap();
            let from = from.unwrap();
            if from.ifindex() == self.link && from.pkttype() != PACKET_OUTGOING {
                return buffer[..length].to_vec();
            }
        }
        panic!("no frame arrived in {DEADLINE:?}");
    }
}
