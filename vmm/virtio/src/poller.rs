//! A device's part of the worker's epoll set.

use std::io::Result;
use std::os::fd::RawFd;
use std::sync::Arc;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// Tokens below are queue numbers.
pub const TOKEN_FIRST: u32 = 16;

/// Registers descriptors for one device. Every registration is edge-triggered.
#[derive(Clone)]
pub struct Poller {
    epoll: Arc<Epoll>,
    slot: u32,
}

impl Poller {
    pub(crate) fn new(epoll: Arc<Epoll>, slot: u32) -> Self {
        Self { epoll, slot }
    }

    /// Reports edges of `events` on `fd` as `token`, which is at least [`TOKEN_FIRST`].
    pub fn add(&self, fd: RawFd, token: u32, events: EventSet) -> Result<()> {
        let data = encode(self.slot, token);
        let event = EpollEvent::new(events | EventSet::EDGE_TRIGGERED, data);
        self.epoll.ctl(ControlOperation::Add, fd, event)
    }

    /// Ends a registration. A descriptor that is closed needs none.
    pub fn remove(&self, fd: RawFd) {
        // It may be gone already.
        let _ = self.epoll.ctl(ControlOperation::Delete, fd, EpollEvent::default());
    }
}

/// Puts slot and token into the number that epoll returns.
pub(crate) fn encode(slot: u32, token: u32) -> u64 {
    u64::from(slot) << 32 | u64::from(token)
}

/// The reverse of [`encode`].
pub(crate) fn decode(data: u64) -> (usize, u32) {
    // Both halves are 32 bits wide.
    ((data >> 32) as usize, data as u32)
}
