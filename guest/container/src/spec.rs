//! What to run, as data: the caller has resolved images, volumes and policy to paths, numbers and sets.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::capabilities::CapabilitySet;

/// One container.
#[derive(Debug)]
pub struct Spec {
    pub root: Root,
    pub process: Process,
    /// Mounted over the root's own special file systems, shallow destinations first.
    pub binds: Vec<Bind>,
    /// All devices, nothing masked, writable /sys and cgroups.
    pub privileged: bool,
    pub namespaces: Namespaces,
}

/// The overlay a container sees as `/`.
#[derive(Debug)]
pub struct Root {
    /// Mounted read-only layers, top first.
    pub layers: Vec<PathBuf>,
    /// Writable layer; same file system as `work`.
    pub upper: PathBuf,
    pub work: PathBuf,
    /// An existing directory; the overlay covers it only inside the container's mount namespace.
    pub mount_point: PathBuf,
    pub read_only: bool,
}

/// The process of a container, or one that joins it.
#[derive(Debug, Clone)]
pub struct Process {
    pub args: Vec<String>,
    /// "NAME=value". PATH, HOME, HOSTNAME and (with a terminal) TERM are added where missing.
    pub env: Vec<String>,
    /// Created when missing; empty is "/".
    pub cwd: String,
    /// "user[:group]", names or numbers; empty is root.
    pub user: String,
    pub supplementary_gids: Vec<u32>,
    pub capabilities: CapabilitySet,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// Refuse to start as user 0.
    pub run_as_non_root: bool,
}

/// Which system call filter a process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seccomp {
    Default,
    Unconfined,
}

/// A directory or file of the caller's mount namespace that appears inside the container.
#[derive(Debug, Clone)]
pub struct Bind {
    pub source: PathBuf,
    /// Below `source`, resolved with `source` as the root, so that no link leads out; empty is `source` itself.
    /// A directory is created when nothing is there.
    pub sub_path: String,
    pub destination: String,
    pub read_only: bool,
}

/// Namespaces that containers of a pod may share; mount and cgroup namespaces are always new.
#[derive(Debug, Default)]
pub struct Namespaces {
    pub pid: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub net: Namespace,
}

#[derive(Debug, Default)]
pub enum Namespace {
    /// The caller's.
    #[default]
    Inherit,
    New,
    /// A descriptor of /proc/PID/ns/KIND.
    Join(OwnedFd),
}

/// Where a process's standard streams go. The caller keeps the other ends.
#[derive(Debug)]
pub enum Stdio {
    Pipes {
        /// None reads /dev/null.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A pseudo-terminal of the container's own /dev/pts; its master comes back with the running process.
    Terminal,
}

/// cgroup v2 limits; 0 leaves the kernel's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: u64,
    /// Per 100 ms period.
    pub cpu_quota_micros: u64,
    /// 1 to 10000.
    pub cpu_weight: u32,
    pub pids_max: u64,
}
