//! The host's side: finds out whether VMs can run here, and starts the VMM on a configuration.
#![allow(unsafe_code, reason = "descriptors pass to the child as numbers, and a tap is made")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use prost::Message;
use proto::vmm::{Disk, GuestPort, Jail, Nic, VmConfig, Vsock};

use crate::{cpio, guest};

const KERNEL: &str = "/usr/lib/bulkhead/vmlinux";
const PREBUILT_KERNEL: &str = "/usr/lib/bulkhead/prebuilt/vmlinuz";
const PREBUILT_MODULES: &str = "/usr/lib/bulkhead/prebuilt/modules";
/// The real PID 1.
const INIT: &str = "/usr/lib/bulkhead/init";
/// Set to see what guests print.
const SHOW_CONSOLE: &str = "BULKHEAD_SHOW_CONSOLE";
/// Longest run of a guest in emulation on a busy host.
const DEADLINE: Duration = Duration::from_secs(600);
pub const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x55];

/// What is missing for running VMs, in words.
pub fn find_missing() -> Option<String> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_flag = cpuinfo
        .lines()
        .any(|line| line.starts_with("flags") && line.split(' ').any(|f| f == "svm" || f == "vmx"));
    if !has_flag || OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Some("no hardware virtualization".to_owned());
    }
    [KERNEL, PREBUILT_KERNEL, INIT]
        .into_iter()
        .find(|path| !std::path::Path::new(path).exists())
        .map(|path| format!("{path} is missing"))
}

/// Which kernel a guest boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Ours, which has everything built in and no ACPI.
    Own,
    /// Debian's for clouds, which knows machines by ACPI and has drivers as modules.
    Prebuilt,
}

impl Kernel {
    fn path(self) -> &'static str {
        match self {
            Self::Own => KERNEL,
            Self::Prebuilt => PREBUILT_KERNEL,
        }
    }

    /// Names and contents, in the order of their names.
    fn modules(self) -> Vec<(String, Vec<u8>)> {
        if self == Self::Own {
            return Vec::new();
        }
        let mut files: Vec<PathBuf> = std::fs::read_dir(PREBUILT_MODULES)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        files.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
    }
}

/// A VM to be started, with what the test keeps of it.
pub struct Builder {
    config: VmConfig,
    /// Descriptors that the child inherits.
    inherited: Vec<OwnedFd>,
    directory: tempfile::TempDir,
}

impl Builder {
    /// A guest with this program as init in role `role`.
    pub fn new(role: &str) -> Self {
        Self::of(role, Kernel::Own)
    }

    /// The same, on a kernel of choice.
    pub fn of(role: &str, kernel: Kernel) -> Self {
        Self::with_program(role, kernel, "/proc/self/exe")
    }

    /// A guest with the real PID 1.
    pub fn pod(kernel: Kernel) -> Self {
        Self::with_program("pod", kernel, INIT)
    }

    fn with_program(role: &str, kernel: Kernel, program: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut builder = Self {
            config: VmConfig {
                id: format!("test-{role}"),
                vcpus: 1,
                memory_bytes: 256 << 20,
                cmdline: format!("bulkhead.test={role}"),
                ..Default::default()
            },
            inherited: Vec::new(),
            directory,
        };
        builder.config.kernel_fd = builder.pass(File::open(kernel.path()).unwrap());
        let program = std::fs::read(program).unwrap();
        let initrd = builder.directory.path().join("initrd");
        std::fs::write(&initrd, cpio::with_init(&program, &kernel.modules())).unwrap();
        builder.config.initrd_fd = builder.pass(File::open(initrd).unwrap());
        builder
    }

    fn pass(&mut self, fd: impl Into<OwnedFd>) -> u32 {
        let fd = fd.into();
        let number = fd.as_raw_fd() as u32;
        self.inherited.push(fd);
        number
    }

    pub fn vcpus(mut self, count: u32) -> Self {
        self.config.vcpus = count;
        self
    }

    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.config.memory_bytes = mib << 20;
        self
    }

    pub fn kernel(mut self, file: File) -> Self {
        self.config.kernel_fd = self.pass(file);
        self
    }

    pub fn console(mut self, file: File) -> Self {
        self.config.console_fd = Some(self.pass(file));
        self
    }

    pub fn disk(mut self, file: File, read_only: bool, serial: &str) -> Self {
        let fd = self.pass(file);
        self.config.disks.push(Disk { fd, read_only, serial: serial.to_owned() });
        self
    }

    pub fn tap(mut self, tap: File) -> Self {
        let tap_fd = self.pass(tap);
        self.config.nics.push(Nic { tap_fd, mac: MAC.to_vec().into(), mtu: 1450 });
        self
    }

    pub fn jailed(mut self) -> Self {
        self.config.jail = Some(Jail { uid: 65534, gid: 65534, namespaces: true, seccomp: true });
        self
    }

    /// Starts the VMM; returns it with the stream of the guest's reports.
    pub fn start(mut self) -> Vm {
        let path = |name| self.directory.path().join(name);
        let (vsock, control) = (path("vsock"), path("control"));
        let listener_fd = self.pass(UnixListener::bind(&vsock).unwrap());
        let control_fd = self.pass(UnixListener::bind(&control).unwrap());
        let (report, theirs) = UnixStream::pair().unwrap();
        report.set_read_timeout(Some(DEADLINE)).unwrap();
        let fd = self.pass(theirs);
        let guest_ports = vec![GuestPort { port: guest::REPORT_PORT, fd }];
        self.config.vsock = Some(Vsock { cid: 3, listener_fd, guest_ports });
        self.config.control_fd = control_fd;
        if std::env::var_os(SHOW_CONSOLE).is_some() {
            self.config.console_fd = Some(1);
        }
        let mut encoded = tempfile::tempfile().unwrap();
        encoded.write_all(&self.config.encode_to_vec()).unwrap();
        let config_fd = self.pass(encoded);
        let child = spawn(config_fd, &self.inherited);
        let report = BufReader::new(report);
        Vm { child, report, vsock, control, _directory: self.directory }
    }
}

fn spawn(config_fd: u32, inherited: &[OwnedFd]) -> Child {
    let numbers: Vec<RawFd> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    let mut command = Command::new("/proc/self/exe");
    command.args(["--config-fd", &config_fd.to_string()]).stderr(Stdio::piped());
    // SAFETY: the closure makes system calls only.
    unsafe {
        command.pre_exec(move || {
            for number in &numbers {
                if libc::fcntl(*number, libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}

/// A running VMM.
pub struct Vm {
    pub child: Child,
    pub report: BufReader<UnixStream>,
    pub vsock: PathBuf,
    pub control: PathBuf,
    _directory: tempfile::TempDir,
}

impl Vm {
    /// The next line that the guest reports, as (name, text).
    pub fn line(&mut self) -> (String, String) {
        let mut line = String::new();
        self.report.read_line(&mut line).expect("a report within the deadline");
        assert!(!line.is_empty(), "the guest ended early: {}", self.finish().1);
        println!("  guest: {}", line.trim());
        let (name, text) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        (name.to_owned(), text.to_owned())
    }

    /// Reads until the guest reports `name`; returns its text.
    pub fn expect(&mut self, name: &str) -> String {
        let (got, text) = self.line();
        assert_eq!(got, name);
        text
    }

    /// Waits for the end; returns the status and what the VMM logged.
    pub fn finish(&mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut log).unwrap();
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, log);
            }
            assert!(Instant::now() < deadline, "the VMM did not end: {log}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a tap with an address for the host.
pub fn make_tap(name: &str, address: &str) -> File {
    let tap = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: `ifreq` is plain data and lives through the request.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (target, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *target = byte as libc::c_char;
        }
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        let result = libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw const request);
        assert_eq!(result, 0, "make a tap: {}", std::io::Error::last_os_error());
    }
    for arguments in [["addr", "add", address, "dev", name], ["link", "set", name, "up", ""]] {
        let words = arguments.iter().filter(|word| !word.is_empty());
        assert!(Command::new("ip").args(words).status().unwrap().success(), "{arguments:?}");
    }
    tap
}
