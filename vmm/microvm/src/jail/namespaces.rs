//! New namespaces and an empty root directory.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot, pivot_root};

use super::{Error, step};

/// A directory that every host has, in our own mount namespace covered by the new root.
const NEW_ROOT: &str = "/dev";
/// One page and one inode: the new root holds nothing.
const ROOT_OPTIONS: &str = "size=4096,nr_inodes=1,mode=555";

/// Leaves the host's mounts, network, IPC objects and names. Needs CAP_SYS_ADMIN.
pub fn enter() -> Result<(), Error> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET;
    step(unshare(flags), "enter new namespaces")?;
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    step(mount(none, "/", none, private, none), "make mounts private")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    let options = Some(ROOT_OPTIONS);
    step(mount(Some("none"), NEW_ROOT, Some("tmpfs"), flags, options), "mount an empty root")?;
    step(chdir(NEW_ROOT), "enter the empty root")?;
    match pivot_root(".", ".") {
        // The old root lies over the new one until it is unmounted.
        Ok(()) => step(umount2(".", MntFlags::MNT_DETACH), "unmount the old root")?,
        // A node that runs from its initramfs cannot pivot: its root is moved over instead. Leaving the
        // chroot again would need a capability that is dropped next.
        Err(nix::Error::EINVAL) => {
            step(mount(Some("."), "/", none, MsFlags::MS_MOVE, none), "move the empty root")?;
            step(chroot("."), "change the root")?;
        }
        Err(errno) => return step(Err(errno), "change the root"),
    }
    step(chdir("/"), "enter the new root")
}
