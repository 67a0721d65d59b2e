//! The node's file systems: all virtual, the root is the initramfs.

use std::fs;

use anyhow::Context;
use nix::mount::{MsFlags, mount};

struct Mount {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    options: &'static str,
    flags: MsFlags,
}

const fn entry(
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    options: &'static str,
) -> Mount {
    Mount { source, target, kind, options, flags: MsFlags::MS_NOSUID }
}

const MOUNTS: [Mount; 8] = [
    entry("proc", "/proc", "proc", ""),
    entry("sysfs", "/sys", "sysfs", ""),
    entry("devtmpfs", "/dev", "devtmpfs", "mode=0755"),
    entry("devpts", "/dev/pts", "devpts", "mode=0620,ptmxmode=0666"),
    entry("tmpfs", "/dev/shm", "tmpfs", "mode=1777"),
    entry("tmpfs", "/run", "tmpfs", "mode=0755"),
    entry("tmpfs", "/tmp", "tmpfs", "mode=1777"),
    // favordynmods: without it each KVM_CREATE_VM waits for an RCU grace period in the cgroup code.
    entry("cgroup2", "/sys/fs/cgroup", "cgroup2", "favordynmods"),
];

/// Mounts everything; goes on after a failure and reports the first.
pub fn mount_all() -> anyhow::Result<()> {
    let mut first = Ok(());
    for one in &MOUNTS {
        let done = mount_one(one);
        if first.is_ok() {
            first = done;
        }
    }
    enable_controllers();
    first
}

fn mount_one(one: &Mount) -> anyhow::Result<()> {
    fs::create_dir_all(one.target).with_context(|| format!("make {}", one.target))?;
    let options = Some(one.options).filter(|options| !options.is_empty());
    match mount(Some(one.source), one.target, Some(one.kind), one.flags, options) {
        // The kernel may have mounted devtmpfs already.
        Err(nix::errno::Errno::EBUSY) => Ok(()),
        // A kernel before 5.18 has no favordynmods.
        Err(nix::errno::Errno::EINVAL) if one.kind == "cgroup2" => {
            let none = None::<&str>;
            mount(Some(one.source), one.target, Some(one.kind), one.flags, none)
                .with_context(|| format!("mount {}", one.target))
        }
        other => other.with_context(|| format!("mount {}", one.target)),
    }
}

fn enable_controllers() {
    for controller in ["+cpu", "+memory", "+pids", "+io"] {
        let _missing = fs::write("/sys/fs/cgroup/cgroup.subtree_control", controller);
    }
}
