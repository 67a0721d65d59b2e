//! The virtual machines of a node: one VMM process per pod, started, watched, re-adopted and ended.
//! Knows no Kubernetes; a VM is named by the pod's uid.

mod adopt;
mod cgroup;
pub mod fake;
mod guest;
mod launch;
mod process;
mod real;
mod record;
mod scratch;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use async_trait::async_trait;
use proto::guest::guest_client::GuestClient;
use tokio::sync::watch;
use tonic::transport::Channel;

pub use guest::connect as connect_guest;
pub use real::{Config, Host};

/// vsock port on which the guest serves gRPC.
pub const GUEST_PORT: u32 = 1024;
/// vsock port of the host that the guest calls once, when it listens.
pub const READY_PORT: u32 = 1023;

/// What a VM is made from.
#[derive(Debug)]
pub struct Request {
    pub uid: String,
    pub vcpus: u32,
    pub memory_bytes: u64,
    /// Read-only layer files, in the guest's device order.
    pub layers: Vec<PathBuf>,
    pub card: Option<Card>,
    pub cgroup: CgroupLimits,
}

/// The network card.
#[derive(Debug)]
pub struct Card {
    pub tap: OwnedFd,
    pub mac: [u8; 6],
    pub mtu: u32,
}

/// Limits of the VMM's own cgroup on the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    pub memory_bytes: u64,
    /// cpu.max in microseconds per 100 ms; absent is no limit.
    pub cpu_quota_us: Option<u64>,
    pub cpu_weight: u32,
}

/// How a VMM process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmExit {
    pub message: String,
}

/// A running virtual machine.
#[derive(Debug, Clone)]
pub struct Vm {
    pub uid: String,
    pub guest: GuestClient<Channel>,
    /// `Some` once the VMM process is gone.
    pub exit: watch::Receiver<Option<VmExit>>,
    /// The guest's name of the scratch disk; empty when there is none.
    pub scratch_device: String,
    /// The VMM's process id; 0 in the fake.
    pub pid: i32,
    /// Unix nanoseconds: VMM started, guest PID 1 called (0 when re-adopted).
    pub started_unix_nanos: i64,
    pub ready_unix_nanos: i64,
}

/// Memory of one VMM process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VmmMemory {
    pub rss: u64,
    pub pss: u64,
    /// Pages that only this process has, guest RAM left out: what one more VMM costs.
    pub private: u64,
    /// Guest RAM that the guest has touched.
    pub guest: u64,
    pub shared: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("make {what} at {path}")]
    Prepare { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("start the VMM {program}")]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("hand over the VM's configuration")]
    Handover { source: std::io::Error },
    #[error("watch the VMM process {pid}")]
    Watch { pid: i32, source: std::io::Error },
    #[error("wait for the guest: the VMM ended first: {message}")]
    EndedEarly { message: String },
    #[error("wait for the guest: no call within {seconds} s")]
    NoCall { seconds: u64 },
    #[error("connect to the guest")]
    Connect { source: tonic::transport::Error },
    #[error("read or write the VM's record at {path}")]
    Record { path: PathBuf, source: std::io::Error },
    #[error("run a blocking task")]
    Blocking { source: tokio::task::JoinError },
}

/// Where VMs come from: real VMM processes, or in-process guests for tests.
#[async_trait]
pub trait VmHost: Send + Sync + 'static {
    /// Starts a VM and waits until its PID 1 has called.
    async fn launch(&self, request: Request) -> Result<Vm, Error>;
    /// Finds a VM that an earlier agent started and that still runs.
    async fn adopt(&self, uid: &str) -> Result<Option<Vm>, Error>;
    /// Uids with a record on this node.
    async fn recorded(&self) -> Vec<String>;
    /// Ends the VM if it runs, and removes every trace of it.
    async fn destroy(&self, uid: &str) -> Result<(), Error>;
    /// Memory of the VMM process.
    fn memory(&self, uid: &str) -> Option<VmmMemory>;
    /// Names and values for the start-up log line.
    fn describe(&self) -> BTreeMap<String, String>;
}
