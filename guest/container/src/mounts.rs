//! Mounts by descriptor (fsopen, fsmount, open_tree, move_mount): no path is looked up twice.
#![allow(unsafe_code, reason = "mount_setattr(2) has no safe wrapper")]

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

pub use rustix::mount::MountAttrFlags as Attributes;

/// Makes an unattached mount of a file system. An option is ("size", "64m") or, as a flag, ("ro", "").
pub fn filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: Attributes,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(context.as_fd(), *key)?;
        } else {
            fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Attaches a mount at an opened place.
pub fn attach(mount: &OwnedFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount.as_fd(), "", target.as_fd(), "", flags)
}

/// An unattached copy of what is mounted at `source`, with what is mounted below it: a bind mount to be.
pub fn copy(source: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(source.as_fd(), "", flags)
}

/// Adds attributes (read-only, nosuid, …) to a mount and, when `recursive`, to those below it.
pub fn restrict(mount: impl AsFd, add: Attributes, recursive: bool) -> Result<(), Errno> {
    set_attributes(mount.as_fd(), u64::from(add.bits()), 0, recursive)
}

/// Takes attributes away from the mount at an opened place.
pub fn relax(mount: impl AsFd, remove: Attributes) -> Result<(), Errno> {
    set_attributes(mount.as_fd(), 0, u64::from(remove.bits()), false)
}

/// Attributes of mounts that hold data, not programs or devices.
pub fn data_only() -> Attributes {
    MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

/// `struct mount_attr` of linux/mount.h, first version.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

fn set_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    recursive: bool,
) -> Result<(), Errno> {
    let attributes = MountAttr { set, clear, propagation: 0, user_namespace: 0 };
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a terminated empty string and the structure outlives the call; its size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
