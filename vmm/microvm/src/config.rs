//! The configuration: read from its descriptor, checked as a whole, and turned into owned resources.
#![allow(unsafe_code, reason = "descriptors are inherited as numbers")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use memory::layout::{CMDLINE_BYTES_MAX, DEVICES_MAX};
use memory::{RAM_BYTES_MAX, RAM_BYTES_MIN};
use prost::Message;
use proto::vmm as wire;
use virtio::block::request::SERIAL_BYTES;
use virtio::vsock::GuestPort;

/// Longest encoded configuration in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Longest VM id in bytes.
const ID_BYTES_MAX: usize = 128;
/// Addresses 0 to 2 are reserved (vsock(7)).
const GUEST_CID_MIN: u32 = 3;
/// Smallest MTU of IPv4.
const MTU_MIN: u32 = 68;
/// Standard input, output and error stay what they are.
const STANDARD_FD_LAST: RawFd = 2;

/// Why the configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("read the configuration")]
    Read(#[source] std::io::Error),
    /// It is not a `VmConfig`.
    #[error("decode the configuration")]
    Decode(#[source] prost::DecodeError),
    /// All that is wrong with it.
    #[error("configuration: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// Names the VM in logs.
    pub id: String,
    /// Number of processors.
    pub vcpus: u8,
    /// Size of RAM.
    pub memory_bytes: u64,
    /// An ELF vmlinux or a bzImage.
    pub kernel: File,
    /// An initramfs.
    pub initrd: Option<File>,
    /// Added to the command line.
    pub cmdline: String,
    /// In the order of `/dev/vd*`.
    pub disks: Vec<Disk>,
    /// Network interfaces.
    pub nics: Vec<Nic>,
    /// The socket device.
    pub vsock: Option<Vsock>,
    /// Serves the control service.
    pub control: Option<UnixListener>,
    /// Gets what the guest's serial port prints.
    pub console: Option<File>,
    /// How this process locks itself in.
    pub jail: Jail,
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// Its content.
    pub file: File,
    /// Nothing may change it.
    pub read_only: bool,
    /// Told to the guest.
    pub serial: String,
}

/// A network interface.
#[derive(Debug)]
pub struct Nic {
    /// Its other end.
    pub tap: File,
    /// Its address.
    pub mac: [u8; 6],
    /// Told to the guest unless 0.
    pub mtu: u16,
}

/// The socket device.
pub struct Vsock {
    /// The guest's address.
    pub cid: u32,
    /// Where host clients connect.
    pub listener: UnixListener,
    /// Where the guest may connect.
    pub guest_ports: Vec<GuestPort>,
}

impl std::fmt::Debug for Vsock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vsock").field("cid", &self.cid).finish_non_exhaustive()
    }
}

/// How the process locks itself in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jail {
    /// New user, unless 0.
    pub uid: u32,
    /// New group, unless 0.
    pub gid: u32,
    /// New namespaces and an empty root.
    pub namespaces: bool,
    /// System call filters.
    pub seccomp: bool,
}

/// Reads and checks the configuration at descriptor `fd`, which is closed.
pub fn read(fd: RawFd) -> Result<Config, Error> {
    let mut claims = Claims::default();
    let Some(fd) = claims.claim(fd, "the configuration") else {
        return Err(Error::Invalid(claims.problems));
    };
    let mut file = File::from(fd);
    // A memfd may stand at its end; a pipe cannot be rewound and need not be.
    let _ = file.rewind();
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut bytes).map_err(Error::Read)?;
    check(wire::VmConfig::decode(bytes.as_slice()).map_err(Error::Decode)?, claims)
}

fn check(config: wire::VmConfig, mut claims: Claims) -> Result<Config, Error> {
    let wire::VmConfig {
        id,
        vcpus,
        memory_bytes,
        kernel_fd,
        initrd_fd,
        cmdline,
        disks,
        nics,
        vsock,
        control_fd,
        console_fd,
        jail,
    } = config;
    claims.require(id.len() <= ID_BYTES_MAX, || "the id is too long".to_owned());
    let vcpus = u8::try_from(vcpus)
        .ok()
        .filter(|count| (1..=kvm::machine::VCPUS_MAX).contains(count))
        .unwrap_or_else(|| claims.refuse(format!("{vcpus} vcpus are not possible")));
    claims.require((RAM_BYTES_MIN..=RAM_BYTES_MAX).contains(&memory_bytes), || {
        format!("{memory_bytes} bytes of memory are not possible")
    });
    claims.require(cmdline.len() < CMDLINE_BYTES_MAX, || "the command line is too long".to_owned());
    let devices = disks.len() + nics.len() + usize::from(vsock.is_some()) + 1;
    claims.require(devices <= DEVICES_MAX, || format!("{devices} devices are too many"));
    let kernel = claims.take(kernel_fd, "the kernel").map(File::from);
    let initrd = claims.take_optional(initrd_fd, "the initrd").map(File::from);
    let disks = disks.into_iter().filter_map(|disk| check_disk(disk, &mut claims)).collect();
    let nics = nics.into_iter().filter_map(|nic| check_nic(nic, &mut claims)).collect();
    let vsock = vsock.and_then(|vsock| check_vsock(vsock, &mut claims));
    let control = claims.take_optional(control_fd, "the control socket").map(UnixListener::from);
    let console = console_fd.and_then(|fd| claims.take_console(fd)).map(File::from);
    let jail = jail.map(check_jail).unwrap_or_default();
    let problems = claims.problems;
    match kernel {
        Some(kernel) if problems.is_empty() => Ok(Config {
            id,
            vcpus,
            memory_bytes,
            kernel,
            initrd,
            cmdline,
            disks,
            nics,
            vsock,
            control,
            console,
            jail,
        }),
        _ => Err(Error::Invalid(problems)),
    }
}

fn check_jail(jail: wire::Jail) -> Jail {
    let wire::Jail { uid, gid, namespaces, seccomp } = jail;
    Jail { uid, gid, namespaces, seccomp }
}

fn check_disk(disk: wire::Disk, claims: &mut Claims) -> Option<Disk> {
    let wire::Disk { fd, read_only, serial } = disk;
    claims.require(serial.len() <= SERIAL_BYTES, || format!("disk serial {serial:?} is too long"));
    let file = File::from(claims.take(fd, "a disk")?);
    Some(Disk { file, read_only, serial })
}

fn check_nic(nic: wire::Nic, claims: &mut Claims) -> Option<Nic> {
    let wire::Nic { tap_fd, mac, mtu } = nic;
    let address = <[u8; 6]>::try_from(mac.as_ref()).ok();
    let multicast = address.is_some_and(|mac| mac[0] & 1 != 0);
    claims.require(address.is_some() && !multicast, || format!("{mac:?} is no interface address"));
    let valid_mtu = u16::try_from(mtu).ok().filter(|_| mtu == 0 || mtu >= MTU_MIN);
    claims.require(valid_mtu.is_some(), || format!("an MTU of {mtu} is not possible"));
    let tap = File::from(claims.take(tap_fd, "a tap")?);
    Some(Nic { tap, mac: address?, mtu: valid_mtu? })
}

fn check_vsock(vsock: wire::Vsock, claims: &mut Claims) -> Option<Vsock> {
    let wire::Vsock { cid, listener_fd, guest_ports } = vsock;
    claims.require((GUEST_CID_MIN..u32::MAX).contains(&cid), || format!("cid {cid} is reserved"));
    let mut ports = BTreeSet::new();
    let mut streams = Vec::new();
    for wire::GuestPort { port, fd } in guest_ports {
        claims.require(ports.insert(port), || format!("guest port {port} is given twice"));
        if let Some(fd) = claims.take(fd, "a guest port's stream") {
            streams.push(GuestPort { port, stream: UnixStream::from(fd) });
        }
    }
    let listener = UnixListener::from(claims.take(listener_fd, "the vsock listener")?);
    Some(Vsock { cid, listener, guest_ports: streams })
}

/// Descriptors taken over so far, and everything that is wrong with the configuration.
#[derive(Debug, Default)]
struct Claims {
    taken: BTreeSet<RawFd>,
    problems: Vec<String>,
}

impl Claims {
    fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    fn refuse<T: Default>(&mut self, problem: String) -> T {
        self.problems.push(problem);
        T::default()
    }

    fn take(&mut self, fd: u32, what: &str) -> Option<OwnedFd> {
        self.claim(RawFd::try_from(fd).unwrap_or(-1), what)
    }

    /// Absent is 0 on the wire.
    fn take_optional(&mut self, fd: u32, what: &str) -> Option<OwnedFd> {
        if fd == 0 { None } else { self.take(fd, what) }
    }

    /// The console may also be standard output or error, of which it gets a copy.
    fn take_console(&mut self, fd: u32) -> Option<OwnedFd> {
        match fd {
            1 => Self::copy(&std::io::stdout()),
            2 => Self::copy(&std::io::stderr()),
            fd => self.take(fd, "the console"),
        }
        .or_else(|| self.refuse("the console cannot be used".to_owned()))
    }

    fn copy(standard: &impl std::os::fd::AsFd) -> Option<OwnedFd> {
        standard.as_fd().try_clone_to_owned().ok()
    }

    /// Takes over an inherited descriptor, once.
    fn claim(&mut self, fd: RawFd, what: &str) -> Option<OwnedFd> {
        // SAFETY: asking for flags changes nothing, whatever the number is.
        let is_open = unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
        if fd <= STANDARD_FD_LAST || !is_open || !self.taken.insert(fd) {
            return self.refuse(format!("descriptor {fd} of {what} is not open or used twice"));
        }
        // SAFETY: the descriptor is open, and the set above makes sure that it gets one owner only.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Config {
    /// All descriptors that the VM uses; every other one is to be closed.
    pub fn descriptors(&self) -> BTreeSet<RawFd> {
        let mut all: BTreeSet<RawFd> = [self.kernel.as_raw_fd()].into();
        all.extend(self.initrd.iter().map(AsRawFd::as_raw_fd));
        all.extend(self.disks.iter().map(|disk| disk.file.as_raw_fd()));
        all.extend(self.nics.iter().map(|nic| nic.tap.as_raw_fd()));
        all.extend(self.control.iter().map(AsRawFd::as_raw_fd));
        all.extend(self.console.iter().map(AsRawFd::as_raw_fd));
        if let Some(vsock) = &self.vsock {
            all.insert(vsock.listener.as_raw_fd());
            all.extend(vsock.guest_ports.iter().map(|port| port.stream.as_raw_fd()));
        }
        all
    }
}

/// Hands a resource over as a number, for a process that is about to be started.
pub fn release(fd: impl Into<OwnedFd>) -> RawFd {
    fd.into().into_raw_fd()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> u32 {
        release(File::open("/dev/null").unwrap()) as u32
    }

    fn valid() -> wire::VmConfig {
        wire::VmConfig {
            id: "pod".to_owned(),
            vcpus: 1,
            memory_bytes: 128 << 20,
            kernel_fd: null(),
            ..Default::default()
        }
    }

    fn problems(config: wire::VmConfig) -> Vec<String> {
        match check(config, Claims::default()) {
            Err(Error::Invalid(problems)) => problems,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_minimal_configuration_is_accepted() {
        let mut config = valid();
        config.nics.push(wire::Nic {
            tap_fd: null(),
            mac: vec![2, 0, 0, 0, 0, 1].into(),
            mtu: 1450,
        });
        let config = check(config, Claims::default()).unwrap();
        assert_eq!(config.vcpus, 1);
        assert_eq!(config.nics[0].mac, [2, 0, 0, 0, 0, 1]);
        assert_eq!(config.descriptors().len(), 2);
    }

    #[test]
    fn every_problem_is_reported() {
        let mut config = valid();
        config.vcpus = 0;
        config.memory_bytes = 1;
        config.disks.push(wire::Disk { fd: 9999, read_only: true, serial: "x".repeat(21) });
        config.nics.push(wire::Nic { tap_fd: 1, mac: vec![1].into(), mtu: 70_000 });
        config.vsock = Some(wire::Vsock { cid: 2, listener_fd: 0, guest_ports: Vec::new() });
        let problems = problems(config);
        assert_eq!(problems.len(), 9, "{problems:#?}");
    }

    #[test]
    fn a_descriptor_has_one_owner() {
        let mut config = valid();
        config.initrd_fd = config.kernel_fd;
        assert_eq!(problems(config).len(), 1);
    }

    #[test]
    fn configurations_are_read_from_the_start_of_their_file() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &valid().encode_to_vec()).unwrap();
        assert_eq!(read(release(file)).unwrap().id, "pod");
        assert!(matches!(read(9999), Err(Error::Invalid(_))));
    }
}
