//! Starts one VMM process: opens everything it needs, writes its configuration, waits for the guest's call.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};
use prost::Message;
use proto::vmm;

use crate::cgroup::Cgroup;
use crate::{Config, Error, READY_PORT, Request, process};

/// Everything that is open for a VM about to start. Closed in the agent when dropped.
#[derive(Debug)]
pub struct Prepared {
    pub config: vmm::VmConfig,
    kept: Vec<OwnedFd>,
    pub ready: UnixStream,
    pub scratch_device: String,
}

impl Prepared {
    /// Keeps only our end of the guest's call.
    #[must_use]
    pub fn into_ready(self) -> UnixStream {
        self.ready
    }
}

/// The identity a VM gets on the node.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    pub cid: u32,
    /// 0 leaves the VMM as root (no jail).
    pub uid: u32,
}

/// Opens files, sockets and the configuration of a VM.
pub fn prepare(
    config: &Config,
    request: Request,
    directory: &Path,
    scratch: Option<&Path>,
    identity: Identity,
) -> Result<Prepared, Error> {
    let mut kept = Vec::new();
    let mut keep = |fd: OwnedFd| -> u32 {
        let number = fd.as_raw_fd();
        kept.push(fd);
        u32::try_from(number).expect("descriptors are not negative")
    };
    let kernel_fd = keep(open("the guest kernel", &config.kernel, false)?);
    let initrd_fd = keep(open("the guest initramfs", &config.initramfs, false)?);
    let mut disks = Vec::new();
    for (index, layer) in request.layers.iter().enumerate() {
        let fd = keep(open("an image layer", layer, false)?);
        disks.push(vmm::Disk { fd, read_only: true, serial: format!("layer{index}") });
    }
    let mut scratch_device = String::new();
    if let Some(path) = scratch {
        scratch_device = device_name(disks.len());
        let fd = keep(open("the scratch disk", path, true)?);
        disks.push(vmm::Disk { fd, read_only: false, serial: "scratch".into() });
    }
    let nics = request.card.map(|card| vmm::Nic {
        tap_fd: keep(card.tap),
        mac: card.mac.to_vec().into(),
        mtu: card.mtu,
    });
    let listener_fd = keep(listen(&directory.join("vsock.sock"))?);
    let control_fd = keep(listen(&directory.join("control.sock"))?);
    let (ready, call) = UnixStream::pair().map_err(|source| Error::Handover { source })?;
    let guest_ports = vec![vmm::GuestPort { port: READY_PORT, fd: keep(call.into()) }];
    let console_fd = match config.console {
        true => Some(keep(create(&directory.join("console.log"))?)),
        false => None,
    };
    let config = vmm::VmConfig {
        id: request.uid,
        vcpus: request.vcpus,
        memory_bytes: request.memory_bytes,
        kernel_fd,
        initrd_fd,
        cmdline: config.cmdline.clone(),
        disks,
        nics: nics.into_iter().collect(),
        vsock: Some(vmm::Vsock { cid: identity.cid, listener_fd, guest_ports }),
        control_fd,
        console_fd,
        jail: Some(vmm::Jail {
            uid: identity.uid,
            gid: identity.uid,
            namespaces: identity.uid != 0,
            seccomp: config.seccomp,
        }),
    };
    Ok(Prepared { config, kept, ready, scratch_device })
}

/// Starts the process; its pid is returned as soon as exec succeeded.
pub fn spawn(
    program: &Path,
    prepared: &Prepared,
    directory: &Path,
    procs: Option<&File>,
) -> Result<i32, Error> {
    let config_file = config_file(&prepared.config).map_err(|source| Error::Handover { source })?;
    let log = create(&directory.join("vmm.log"))?;
    let log_copy = log.try_clone().map_err(|source| Error::Handover { source })?;
    let mut inherited: Vec<RawFd> = prepared.kept.iter().map(AsRawFd::as_raw_fd).collect();
    inherited.push(config_file.as_raw_fd());
    let mut command = Command::new(program);
    command
        .arg("--config-fd")
        .arg(config_file.as_raw_fd().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(log_copy));
    process::prepare_child(&mut command, inherited, procs.map(AsRawFd::as_raw_fd));
    let fail = |source| Error::Spawn { program: program.to_owned(), source };
    // The child is reaped through its pidfd; dropping `Child` neither kills nor waits.
    let child = command.spawn().map_err(fail)?;
    i32::try_from(child.id()).map_err(|_| fail(io::Error::other("pid out of range")))
}

fn config_file(config: &vmm::VmConfig) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"vm-config", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&config.encode_to_vec())?;
    file.rewind()?;
    Ok(file)
}

fn open(what: &'static str, path: &Path, write: bool) -> Result<OwnedFd, Error> {
    let file = OpenOptions::new().read(true).write(write).open(path);
    file.map(OwnedFd::from).map_err(|source| Error::Prepare { what, path: path.to_owned(), source })
}

fn create(path: &PathBuf) -> Result<OwnedFd, Error> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let what = "a log file";
    file.map(OwnedFd::from).map_err(|source| Error::Prepare { what, path: path.clone(), source })
}

fn listen(path: &PathBuf) -> Result<OwnedFd, Error> {
    let _absent = fs::remove_file(path);
    let listener = UnixListener::bind(path);
    let what = "a socket";
    listener.map(OwnedFd::from).map_err(|source| Error::Prepare {
        what,
        path: path.clone(),
        source,
    })
}

/// /dev/vda, /dev/vdb, ... A VM has far fewer than 702 disks.
fn device_name(index: usize) -> String {
    let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).expect("below 26"));
    match index / 26 {
        0 => format!("/dev/vd{}", letter(index)),
        high => format!("/dev/vd{}{}", letter(high - 1), letter(index)),
    }
}

/// The cgroup of a VM that is about to start; `None` where cgroups are not ours to make.
pub fn make_cgroup(root: &Path, request: &Request) -> Option<(Cgroup, File)> {
    match Cgroup::create(root, &request.uid, request.cgroup) {
        Ok(made) => Some(made),
        Err(error) => {
            tracing::warn!(%error, uid = request.uid, "VM runs without its own cgroup");
            None
        }
    }
}
