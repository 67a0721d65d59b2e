//! Runs OCI-like containers with namespaces, cgroup v2, capabilities and seccomp.
//!
//! Knows no virtual machine, no gRPC and no Kubernetes: the guest's PID 1 uses it inside a pod's VM, and a node agent
//! may use it on the host. The caller owns reaping: every process started here is its child.

pub mod capabilities;
pub mod cgroup;
mod child;
mod credentials;
mod devices;
pub mod files;
mod launch;
mod lookup;
pub mod mounts;
mod report;
mod rootfs;
pub mod seccomp;
pub mod spec;
mod terminal;
pub mod user;

pub use cgroup::Cgroup;
pub use launch::{Error, Pending, Running, Target, exec, launch, spawn_reaper};
pub use report::{Failure, FailureKind};
pub use spec::{Bind, Limits, Namespace, Namespaces, Process, Root, Seccomp, Spec, Stdio};
pub use terminal::resize;
