//! The interrupt of one device: the reasons that the guest reads, and the line that wakes it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;

/// `InterruptStatus` bit: a buffer was used.
const USED_BUFFER: u32 = 1;
/// `InterruptStatus` bit: configuration (or the status) changed.
const CONFIG_CHANGE: u32 = 2;

/// Shared by the transport (which shows and clears the reasons) and the device (which adds them).
#[derive(Debug)]
pub struct Interrupt {
    reasons: AtomicU32,
    broken: AtomicBool,
    line: EventFd,
}

impl Interrupt {
    /// `line` is connected to KVM.
    pub fn new(line: EventFd) -> Self {
        Self { reasons: AtomicU32::new(0), broken: AtomicBool::new(false), line }
    }

    /// Tells the driver that buffers were used.
    pub fn signal_queue(&self) {
        self.signal(USED_BUFFER);
    }

    /// Tells the driver that the device needs a reset (virtio 2.1.2).
    pub fn signal_broken(&self) {
        self.broken.store(true, Ordering::Release);
        self.signal(CONFIG_CHANGE);
    }

    fn signal(&self, reason: u32) {
        self.reasons.fetch_or(reason, Ordering::AcqRel);
        // A full counter means that the guest has a signal waiting already.
        let _ = self.line.write(1);
    }

    /// The reasons since the last acknowledgement.
    pub fn reasons(&self) -> u32 {
        self.reasons.load(Ordering::Acquire)
    }

    /// The driver saw `reasons`.
    pub fn acknowledge(&self, reasons: u32) {
        self.reasons.fetch_and(!reasons, Ordering::AcqRel);
    }

    /// Whether the device asked for a reset.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// As after power-on.
    pub fn clear(&self) {
        self.reasons.store(0, Ordering::Release);
        self.broken.store(false, Ordering::Release);
    }
}
