//! The first milliseconds of the VM: kernel file systems, a root that can be pivoted away from, cgroups, loopback.

use std::fs;
use std::os::fd::IntoRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use container::cgroup;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change, mount_move,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::modules;
use crate::network;
use crate::options::Options;

const CGROUPS: &str = "/sys/fs/cgroup";
/// Open files a process may have, the limit engines give containers; the kernel's own default is 1024.
const OPEN_FILES_MAX: u64 = 1 << 20;

/// Where things are kept.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Layers, volumes, scratch and the pod's own files.
    pub base: PathBuf,
    /// Parent of the containers' cgroups.
    pub cgroup: PathBuf,
    /// Whether this is a VM of our own: then it is powered off at the end.
    pub vm: bool,
}

/// CLOCK_BOOTTIME in nanoseconds.
pub fn now_boottime_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Makes the machine ready for containers.
pub fn prepare(options: &Options) -> Result<Paths> {
    let paths = match options {
        Options::Vm => boot()?,
        Options::Beside { socket: _, base, cgroup } => {
            Paths { base: base.clone(), cgroup: cgroup.clone(), vm: false }
        }
    };
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("make mounts private")?;
    if !paths.vm && is_initramfs().context("read the mount table")? {
        cover_initramfs().context("cover the initramfs")?;
    }
    for folder in ["layers", "containers", "volumes", "etc", "shm", "scratch"] {
        let folder = paths.base.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::create_dir_all(&paths.cgroup).context("create the containers' cgroup")?;
    cgroup::delegate_controllers(&paths.cgroup)?;
    network::bring_up_loopback().context("bring up the loopback interface")?;
    Ok(paths)
}

fn boot() -> Result<Paths> {
    mount_plain("devtmpfs", "/dev", "mode=0755").context("mount /dev")?;
    open_missing_streams().context("open standard streams")?;
    modules::load_all(Path::new(modules::FOLDER)).context("load modules")?;
    replace_root().context("replace the root")?;
    mount_plain("proc", "/proc", "").context("mount /proc")?;
    mount_plain("sysfs", "/sys", "").context("mount /sys")?;
    mount_plain("cgroup2", CGROUPS, "memory_recursiveprot").context("mount cgroups")?;
    cgroup::delegate_controllers(Path::new(CGROUPS))?;
    raise_limits().context("raise resource limits")?;
    set_pod_defaults();
    Ok(Paths { base: "/run".into(), cgroup: Path::new(CGROUPS).join("pod"), vm: true })
}

fn mount_plain(kind: &str, target: &str, options: &str) -> Result<(), Errno> {
    let data = std::ffi::CString::new(options).expect("options are constants without NUL");
    let flags = match kind {
        "devtmpfs" => MountFlags::NOSUID,
        _ => MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
    };
    mount(kind, target, kind, flags, Some(data.as_c_str()))
}

/// Without a console the kernel starts PID 1 with no open descriptors: whatever is opened first would become a
/// standard stream.
fn open_missing_streams() -> Result<(), Errno> {
    loop {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
        if rustix::fd::AsRawFd::as_raw_fd(&null) > 2 {
            return Ok(());
        }
        let _keep_open = null.into_raw_fd();
    }
}

/// pivot_root(2) refuses to leave the initramfs itself, so a tmpfs is moved over it.
fn replace_root() -> Result<()> {
    fs::create_dir_all("/newroot")?;
    mount("tmpfs", "/newroot", "tmpfs", MountFlags::NOSUID, Some(c"mode=0755"))?;
    for folder in ["dev", "proc", "sys", "run", "tmp"] {
        fs::create_dir(Path::new("/newroot").join(folder))?;
    }
    mount_move("/dev", "/newroot/dev")?;
    rustix::process::chdir("/newroot")?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Whether the present root is the initramfs: the mount table then has nothing above it.
fn is_initramfs() -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let root = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/"));
    Ok(root.is_some_and(|line| line.contains(" - rootfs ")))
}

/// A machine that runs from its initramfs gets a copy of the root above it, for the reason of [`replace_root`].
fn cover_initramfs() -> Result<()> {
    fs::create_dir_all("/mnt")?;
    mount_bind_recursive("/", "/mnt")?;
    rustix::process::chdir("/mnt")?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

/// Containers inherit these.
fn raise_limits() -> Result<(), Errno> {
    let files = Rlimit { current: Some(OPEN_FILES_MAX), maximum: Some(OPEN_FILES_MAX) };
    setrlimit(Resource::Nofile, files)?;
    // The pod's cgroups limit processes and memory; per-user limits would only surprise.
    for resource in [Resource::Nproc, Resource::Memlock, Resource::Core, Resource::Sigpending] {
        setrlimit(resource, Rlimit { current: None, maximum: None })?;
    }
    Ok(())
}

/// What container engines set for a pod's own network: low ports and ping need no privilege.
fn set_pod_defaults() {
    for (name, value) in [
        ("net/ipv4/ip_unprivileged_port_start", "0"),
        ("net/ipv4/ping_group_range", "0 2147483647"),
        ("kernel/panic_on_oops", "1"),
    ] {
        if let Err(error) = fs::write(Path::new("/proc/sys").join(name), value) {
            crate::log::write(&format!("set {name}: {error}"));
        }
    }
}
