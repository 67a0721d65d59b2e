//! Builds what a container sees as its file system, inside its new mount namespace, and makes it the root.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::files;
use crate::mounts::{self, Attributes};
use crate::report::Failure;
use crate::spec::{Bind, Root, Spec};

/// Size of a private /dev/shm, the one container engines give.
const SHM_SIZE: &str = "64m";

/// Paths that show or steer the kernel: hidden (OCI runtime specification, maskedPaths, and engines' defaults).
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Name, major, minor.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const DEVICE_LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Mounts everything of `spec` and enters it. The calling process must own a mount namespace of its own, and its
/// cgroup namespace must already be the container's.
pub(crate) fn enter(spec: &Spec) -> Result<(), Failure> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|e| Failure::step("make mounts private", e))?;
    let root = mount_root(&spec.root).map_err(|e| Failure::step("mount the root", e))?;
    mount_kernel_views(root.as_fd(), spec.privileged)?;
    mount_devices(root.as_fd(), spec).map_err(|e| Failure::step("populate /dev", e))?;
    for bind in in_mount_order(&spec.binds) {
        mount_bind(root.as_fd(), bind)?;
    }
    pivot(&root).map_err(|e| Failure::step("pivot into the root", e))?;
    drop(root);
    if !spec.privileged {
        hide_kernel_paths()?;
    }
    if spec.root.read_only {
        let root =
            files::open_path(Path::new("/")).map_err(|e| Failure::step("open the root", e))?;
        mounts::restrict(&root, Attributes::MOUNT_ATTR_RDONLY, false)
            .map_err(|e| Failure::step("make the root read-only", e))?;
    }
    Ok(())
}

fn mount_root(root: &Root) -> Result<OwnedFd, Errno> {
    let data = overlay_options(root).ok_or(Errno::INVAL)?;
    // fsconfig(2) takes at most 256 bytes per value; many layers need mount(2)'s page.
    rustix::mount::mount(
        "overlay",
        root.mount_point.as_path(),
        "overlay",
        MountFlags::empty(),
        Some(data.as_c_str()),
    )?;
    files::open_path(&root.mount_point)
}

/// "volatile": the writable layer dies with the container, so flushing it to disk is never needed.
fn overlay_options(root: &Root) -> Option<CString> {
    let mut layers = Vec::new();
    for layer in &root.layers {
        let layer = layer.to_str()?;
        if layer.contains([':', ',', '\\']) {
            return None;
        }
        layers.push(layer);
    }
    let (upper, work) = (root.upper.to_str()?, root.work.to_str()?);
    let text = format!("lowerdir={},upperdir={upper},workdir={work},volatile", layers.join(":"));
    CString::new(text).ok()
}

fn mount_kernel_views(root: BorrowedFd<'_>, privileged: bool) -> Result<(), Failure> {
    let plain = mounts::data_only();
    let guarded = if privileged { plain } else { plain | Attributes::MOUNT_ATTR_RDONLY };
    for (kind, path, attributes) in
        [("proc", "proc", plain), ("sysfs", "sys", guarded), ("cgroup2", "sys/fs/cgroup", guarded)]
    {
        mount_new(root, kind, path, &[], attributes)
            .map_err(|e| Failure::step(&format!("mount /{path}"), e))?;
    }
    Ok(())
}

fn mount_new(
    root: BorrowedFd<'_>,
    kind: &str,
    path: &str,
    options: &[(&str, &str)],
    attributes: Attributes,
) -> Result<(), Errno> {
    let target = files::ensure_dir(root, path, 0o755)?;
    mounts::attach(&mounts::filesystem(kind, options, attributes)?, &target)
}

fn mount_devices(root: BorrowedFd<'_>, spec: &Spec) -> Result<(), Errno> {
    let (no_suid, no_exec) = (Attributes::MOUNT_ATTR_NOSUID, Attributes::MOUNT_ATTR_NOEXEC);
    if spec.privileged {
        mount_new(root, "devtmpfs", "dev", &[], no_suid)?;
    } else {
        let options = [("mode", "755"), ("size", "64k")];
        mount_new(root, "tmpfs", "dev", &options, no_suid)?;
    }
    let folder = files::ensure_dir(root, "dev", 0o755)?;
    for (name, major, minor) in DEVICES {
        make_device(folder.as_fd(), name, major, minor)?;
    }
    for (name, target) in DEVICE_LINKS {
        ignore_existing(fs::symlinkat(target, &folder, name))?;
    }
    let options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    // "newinstance" is implied since Linux 4.7 and no longer a parameter of the new mount interface.
    mount_new(root, "devpts", "dev/pts", &options[1..], no_suid | no_exec)?;
    mount_new(root, "mqueue", "dev/mqueue", &[], mounts::data_only())?;
    if !spec.binds.iter().any(|bind| bind.destination.trim_end_matches('/') == "/dev/shm") {
        let options = [("mode", "1777"), ("size", SHM_SIZE)];
        mount_new(root, "tmpfs", "dev/shm", &options, mounts::data_only())?;
    }
    Ok(())
}

fn make_device(folder: BorrowedFd<'_>, name: &str, major: u32, minor: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o666);
    let number = fs::makedev(major, minor);
    ignore_existing(fs::mknodat(folder, name, FileType::CharacterDevice, mode, number))?;
    // The umask of the caller must not count.
    fs::chmodat(folder, name, mode, fs::AtFlags::empty())
}

fn ignore_existing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Shallow destinations first, so that a deeper one is not covered; equal depths keep their order.
fn in_mount_order(binds: &[Bind]) -> Vec<&Bind> {
    let depth = |bind: &&Bind| bind.destination.split('/').filter(|part| !part.is_empty()).count();
    let mut ordered: Vec<&Bind> = binds.iter().collect();
    ordered.sort_by_key(depth);
    ordered
}

fn mount_bind(root: BorrowedFd<'_>, bind: &Bind) -> Result<(), Failure> {
    let failed =
        |step: &str, errno: Errno| Failure::step(&format!("{step} {}", bind.destination), errno);
    let source = open_source(bind).map_err(|e| failed("find the source of mount", e))?;
    let target = if files::is_dir(&source).map_err(|e| failed("inspect mount", e))? {
        files::ensure_dir(root, &bind.destination, 0o755)
    } else {
        files::ensure_file(root, &bind.destination)
    }
    .map_err(|e| failed("create mount point", e))?;
    let mount = mounts::copy(&source).map_err(|e| failed("copy mount", e))?;
    if bind.read_only {
        mounts::restrict(&mount, Attributes::MOUNT_ATTR_RDONLY, true)
            .map_err(|e| failed("make read-only", e))?;
    }
    mounts::attach(&mount, &target).map_err(|e| failed("attach mount", e))
}

fn open_source(bind: &Bind) -> Result<OwnedFd, Errno> {
    let source = files::open_path(&bind.source)?;
    if bind.sub_path.is_empty() {
        return Ok(source);
    }
    match files::open_in_root(source.as_fd(), &bind.sub_path) {
        Err(Errno::NOENT) => files::ensure_dir(source.as_fd(), &bind.sub_path, 0o750),
        other => other,
    }
}

/// Makes `root` the root and leaves nothing of the old one behind (the "." "." idiom of pivot_root(2)).
fn pivot(root: &OwnedFd) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn hide_kernel_paths() -> Result<(), Failure> {
    for path in READ_ONLY {
        if files::exists(path) {
            make_read_only(path).map_err(|e| Failure::step(&format!("protect {path}"), e))?;
        }
    }
    for path in MASKED {
        if files::exists(path) {
            mask(path).map_err(|e| Failure::step(&format!("hide {path}"), e))?;
        }
    }
    Ok(())
}

fn make_read_only(path: &str) -> Result<(), Errno> {
    let target = files::open_path(Path::new(path))?;
    let copy = mounts::copy(&target)?;
    mounts::restrict(&copy, Attributes::MOUNT_ATTR_RDONLY, true)?;
    mounts::attach(&copy, &target)
}

fn mask(path: &str) -> Result<(), Errno> {
    let target = files::open_path(Path::new(path))?;
    let cover = if files::is_dir(&target)? {
        mounts::filesystem("tmpfs", &[("ro", ""), ("size", "4k")], mounts::data_only())?
    } else {
        mounts::copy(files::open_path(Path::new("/dev/null"))?)?
    };
    mounts::attach(&cover, &target)
}

/// Shows a terminal as /dev/console, as engines do for containers with one.
pub(crate) fn bind_console(terminal: &str) -> Result<(), Errno> {
    let root = fs::openat(CWD, "/", fs::OFlags::PATH | fs::OFlags::CLOEXEC, Mode::empty())?;
    let target = files::ensure_file(root.as_fd(), "/dev/console")?;
    mounts::attach(&mounts::copy(files::open_path(Path::new(terminal))?)?, &target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(destination: &str) -> Bind {
        Bind {
            source: "/".into(),
            sub_path: String::new(),
            destination: destination.into(),
            read_only: false,
        }
    }

    #[test]
    fn deeper_mounts_come_later() {
        let binds = ["/a/b/c", "/x", "/a", "/a/b/"].map(bind);
        let order: Vec<&str> =
            in_mount_order(&binds).iter().map(|bind| bind.destination.as_str()).collect();
        assert_eq!(order, ["/x", "/a", "/a/b/", "/a/b/c"]);
    }

    #[test]
    fn overlay_options_name_layers_top_first() {
        let root = Root {
            layers: vec!["/l/b".into(), "/l/a".into()],
            upper: "/s/u".into(),
            work: "/s/w".into(),
            mount_point: "/m".into(),
            read_only: false,
        };
        assert_eq!(
            overlay_options(&root).unwrap().to_str().unwrap(),
            "lowerdir=/l/b:/l/a,upperdir=/s/u,workdir=/s/w,volatile"
        );
        let odd = Root { layers: vec!["/l/a:b".into()], ..root };
        assert!(overlay_options(&odd).is_none());
    }
}
