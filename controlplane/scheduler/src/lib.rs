//! Decides which node runs a pod.
//!
//! `cycle::schedule` is pure: a pod and a snapshot in, a node or the reasons out. `cache` keeps the snapshot true,
//! `queue` orders the waiting pods, `task` acts. Plugins (one file each) stand at upstream's extension points.

pub mod cache;
pub mod cycle;
pub mod framework;
mod metrics;
pub mod nominations;
pub mod plugins;
pub mod preemption;
pub mod quantity;
pub mod queue;
pub mod resources;
mod task;

pub use task::{Error, run};

/// Pods that name another scheduler are left alone.
pub const SCHEDULER_NAME: &str = "default-scheduler";

#[cfg(test)]
mod testing;
