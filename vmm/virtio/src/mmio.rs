//! The virtio-mmio transport, version 2 (virtio 4.2): the registers of one device as its driver sees
//! them. Queue addresses can be set only before DRIVER_OK; the device gets its own copy then.

use std::sync::Arc;

use memory::GuestRam;
use memory::layout::MMIO_WINDOW_BYTES;
use tracing::debug;
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};

use crate::device::{Profile, QUEUE_SIZE};
use crate::interrupt::Interrupt;
use crate::ring::Ring;
use crate::worker::Worker;

mod reg {
    //! Register offsets (virtio 4.2.2).
    pub const MAGIC: u64 = 0x00;
    pub const VERSION: u64 = 0x04;
    pub const DEVICE_ID: u64 = 0x08;
    pub const VENDOR_ID: u64 = 0x0c;
    pub const DEVICE_FEATURES: u64 = 0x10;
    pub const DEVICE_FEATURES_SEL: u64 = 0x14;
    pub const DRIVER_FEATURES: u64 = 0x20;
    pub const DRIVER_FEATURES_SEL: u64 = 0x24;
    pub const QUEUE_SEL: u64 = 0x30;
    pub const QUEUE_SIZE_MAX: u64 = 0x34;
    pub const QUEUE_SIZE: u64 = 0x38;
    pub const QUEUE_READY: u64 = 0x44;
    pub const INTERRUPT_STATUS: u64 = 0x60;
    pub const INTERRUPT_ACK: u64 = 0x64;
    pub const STATUS: u64 = 0x70;
    pub const QUEUE_DESC_LOW: u64 = 0x80;
    pub const QUEUE_DESC_HIGH: u64 = 0x84;
    pub const QUEUE_DRIVER_LOW: u64 = 0x90;
    pub const QUEUE_DRIVER_HIGH: u64 = 0x94;
    pub const QUEUE_DEVICE_LOW: u64 = 0xa0;
    pub const QUEUE_DEVICE_HIGH: u64 = 0xa4;
    pub const SHM_LEN_LOW: u64 = 0xb0;
    pub const SHM_BASE_HIGH: u64 = 0xbc;
    pub const CONFIG: u64 = 0x100;
}

/// Offset of the register to which a driver writes a queue's number (virtio 4.2.2).
pub const QUEUE_NOTIFY: u64 = 0x50;
const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
const VENDOR: u32 = u32::from_le_bytes(*b"BLKH");

pub(crate) mod status {
    //! Bits of the device status (virtio 2.1).
    pub const ACKNOWLEDGE: u32 = 1;
    pub const DRIVER: u32 = 2;
    pub const DRIVER_OK: u32 = 4;
    pub const FEATURES_OK: u32 = 8;
    pub const NEEDS_RESET: u32 = 64;
    pub const FAILED: u32 = 128;
}

/// What a write to the status register means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Back to power-on.
    Reset,
    /// Only the new value is kept.
    Keep,
    /// Features are to be checked, then the value kept.
    CheckFeatures,
    /// The device starts.
    Activate,
    /// Not a step that a driver may take now.
    Refuse,
}

/// Decides what writing `new` means when the status is `old` (virtio 3.1.1).
pub(crate) fn plan_status(old: u32, new: u32) -> Change {
    use status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK};
    if new == 0 {
        return Change::Reset;
    }
    if new & FAILED != 0 {
        return Change::Keep;
    }
    let ready = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    match (old, new) {
        (old, new) if old == new => Change::Keep,
        (0, ACKNOWLEDGE) => Change::Keep,
        (ACKNOWLEDGE, new) if new == ACKNOWLEDGE | DRIVER => Change::Keep,
        (old, new) if old == ACKNOWLEDGE | DRIVER && new == ready => Change::CheckFeatures,
        (old, new) if old == ready && new == ready | DRIVER_OK => Change::Activate,
        _ => Change::Refuse,
    }
}

/// The registers of one device. Accesses come from any processor, one at a time.
pub struct Transport {
    slot: usize,
    profile: Profile,
    ram: Arc<GuestRam>,
    interrupt: Arc<Interrupt>,
    worker: Worker,
    status: u32,
    driver_features: u64,
    device_features_page: u32,
    driver_features_page: u32,
    queue_selected: u32,
    queues: Vec<Queue>,
}

impl Transport {
    /// The registers of the device that the worker has in `slot`.
    pub fn new(
        slot: usize,
        mut profile: Profile,
        ram: Arc<GuestRam>,
        interrupt: Arc<Interrupt>,
        worker: Worker,
    ) -> Self {
        profile.features |= 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX;
        let queues = make_queues(profile.queues);
        Self {
            slot,
            profile,
            ram,
            interrupt,
            worker,
            status: 0,
            driver_features: 0,
            device_features_page: 0,
            driver_features_page: 0,
            queue_selected: 0,
            queues,
        }
    }

    /// The driver reads at `offset` in the window. What does not exist reads as zero.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if (reg::CONFIG..MMIO_WINDOW_BYTES).contains(&offset) {
            let start = (offset - reg::CONFIG) as usize;
            let config = self.profile.config.get(start..).unwrap_or_default();
            let count = config.len().min(data.len());
            data[..count].copy_from_slice(&config[..count]);
        } else if data.len() == 4 {
            data.copy_from_slice(&self.read_register(offset).to_le_bytes());
        }
    }

    /// The driver writes at `offset` in the window. What makes no sense is ignored.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        // The configuration of all our devices is read-only.
        if let Ok(bytes) = <[u8; 4]>::try_from(data) {
            self.write_register(offset, u32::from_le_bytes(bytes));
        }
    }

    fn read_register(&self, offset: u64) -> u32 {
        match offset {
            reg::MAGIC => MAGIC,
            reg::VERSION => VERSION,
            reg::DEVICE_ID => self.profile.id,
            reg::VENDOR_ID => VENDOR,
            reg::DEVICE_FEATURES => page(self.profile.features, self.device_features_page),
            reg::QUEUE_SIZE_MAX => self.selected().map_or(0, |queue| u32::from(queue.max_size())),
            reg::QUEUE_READY => self.selected().map_or(0, |queue| u32::from(queue.ready())),
            reg::INTERRUPT_STATUS => self.interrupt.reasons(),
            reg::STATUS => self.read_status(),
            // No shared memory regions: all ones (virtio 4.2.2).
            reg::SHM_LEN_LOW..=reg::SHM_BASE_HIGH => u32::MAX,
            // Also the generation of the configuration, which never changes.
            _ => 0,
        }
    }

    fn read_status(&self) -> u32 {
        self.status | if self.interrupt.is_broken() { status::NEEDS_RESET } else { 0 }
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            reg::DEVICE_FEATURES_SEL => self.device_features_page = value,
            reg::DRIVER_FEATURES_SEL => self.driver_features_page = value,
            reg::DRIVER_FEATURES => self.accept_features(value),
            reg::QUEUE_SEL => self.queue_selected = value,
            reg::INTERRUPT_ACK => self.interrupt.acknowledge(value),
            reg::STATUS => self.write_status(value),
            _ => self.write_queue(offset, value),
        }
    }

    fn accept_features(&mut self, value: u32) {
        if self.status & status::FEATURES_OK != 0 {
            return;
        }
        let shift = match self.driver_features_page {
            0 => 0,
            1 => 32,
            _ => return,
        };
        self.driver_features &= !(u64::from(u32::MAX) << shift);
        self.driver_features |= u64::from(value) << shift;
    }

    fn selected(&self) -> Option<&Queue> {
        self.queues.get(self.queue_selected as usize)
    }

    fn write_queue(&mut self, offset: u64, value: u32) {
        use status::{DRIVER_OK, FEATURES_OK};
        if self.status & (FEATURES_OK | DRIVER_OK) != FEATURES_OK {
            return;
        }
        let Some(queue) = self.queues.get_mut(self.queue_selected as usize) else { return };
        match offset {
            reg::QUEUE_READY => queue.set_ready(value == 1),
            _ if queue.ready() => {}
            // Sizes that are not a power of two or too large are ignored by the queue.
            reg::QUEUE_SIZE => queue.set_size(u16::try_from(value).unwrap_or(0)),
            reg::QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            reg::QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            reg::QUEUE_DRIVER_LOW => queue.set_avail_ring_address(Some(value), None),
            reg::QUEUE_DRIVER_HIGH => queue.set_avail_ring_address(None, Some(value)),
            reg::QUEUE_DEVICE_LOW => queue.set_used_ring_address(Some(value), None),
            reg::QUEUE_DEVICE_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    fn write_status(&mut self, new: u32) {
        // NEEDS_RESET is the device's own bit.
        let new = new & !status::NEEDS_RESET;
        match plan_status(self.status, new) {
            Change::Reset => self.reset(),
            Change::Keep => self.status = new,
            Change::CheckFeatures if self.features_acceptable() => self.status = new,
            Change::CheckFeatures => {}
            Change::Activate => self.activate(new),
            Change::Refuse => debug!(slot = self.slot, old = self.status, new, "status refused"),
        }
    }

    fn features_acceptable(&self) -> bool {
        let required = 1 << VIRTIO_F_VERSION_1;
        self.driver_features & !self.profile.features == 0
            && self.driver_features & required == required
    }

    fn activate(&mut self, new: u32) {
        let event_idx = self.driver_features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0;
        if self.queues.iter().any(|queue| queue.ready() && !queue.is_valid(&*self.ram)) {
            self.interrupt.signal_broken();
            return;
        }
        let queues = std::mem::replace(&mut self.queues, make_queues(self.profile.queues));
        let rings = queues
            .into_iter()
            .map(|mut queue| {
                queue.set_event_idx(event_idx);
                queue.ready().then(|| Ring::new(queue, self.ram.clone(), self.interrupt.clone()))
            })
            .collect();
        self.status = new;
        if self.worker.activate(self.slot, rings, self.driver_features).is_err() {
            self.interrupt.signal_broken();
        }
    }

    fn reset(&mut self) {
        if self.status & status::DRIVER_OK != 0 && self.worker.reset(self.slot).is_err() {
            self.interrupt.signal_broken();
            return;
        }
        self.interrupt.clear();
        self.status = 0;
        self.driver_features = 0;
        self.device_features_page = 0;
        self.driver_features_page = 0;
        self.queue_selected = 0;
        self.queues = make_queues(self.profile.queues);
    }
}

fn make_queues(count: usize) -> Vec<Queue> {
    (0..count).map(|_| Queue::new(QUEUE_SIZE).expect("a power of two is a valid size")).collect()
}

/// The low or high half of the feature bits.
fn page(features: u64, page: u32) -> u32 {
    match page {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

#[cfg(test)]
#[path = "mmio_tests.rs"]
mod tests;
