//! Waiting for what no kubectl command waits for, and the deadlines of the checks.
//!
//! Deadlines are generous: under software emulation a pod's start takes many times what it takes on hardware.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// One pod, or a few, from creation to Ready.
pub const POD_READY: Duration = Duration::from_secs(240);
/// A rollout of a handful of pods.
pub const ROLLOUT: Duration = Duration::from_secs(600);
/// Graceful end of pods.
pub const PODS_GONE: Duration = Duration::from_secs(180);
/// A change of Service or endpoints to arrive at every node.
pub const PROPAGATION: Duration = Duration::from_secs(60);
/// A restarted container or a replaced VM.
pub const RECOVERY: Duration = Duration::from_secs(240);
/// A node without heartbeats to become NotReady (grace period 40 s and more).
pub const NODE_LOST: Duration = Duration::from_secs(240);
/// A machine from power-on to Ready.
pub const NODE_BOOT: Duration = Duration::from_secs(600);
/// A namespace with all that is in it to disappear.
pub const NAMESPACE_GONE: Duration = Duration::from_secs(240);
/// One line of a stream.
pub const LINE: Duration = Duration::from_secs(60);
/// One HTTP request.
pub const REQUEST: Duration = Duration::from_secs(20);

/// Tries until `attempt` has a value; at the deadline fails with the last reason.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                return Err(error)
                    .with_context(|| format!("not within {} s: {what}", deadline.as_secs()));
            }
            // interval: only for what has no watch (a page, a process list, a set of pods); a second is short here.
            Err(_not_yet) => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}

/// For use in `until`: fails while the condition is false.
pub fn holds(condition: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if condition { Ok(()) } else { bail!(otherwise()) }
}
