//! A guest driver for tests: RAM, queues in it, and helpers to add requests and read completions.

use std::cell::RefCell;
use std::sync::Arc;

use memory::GuestRam;
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::epoll::Epoll;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::device::Activation;
use crate::interrupt::Interrupt;
use crate::poller::Poller;
use crate::ring::Ring;

const QUEUE_BYTES: u64 = 0x1_0000;
const DESC: u64 = 0;
const AVAIL: u64 = 0x4000;
const USED: u64 = 0x8000;
pub const SIZE: u16 = 256;
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// The driver's view of some queues.
pub struct Guest {
    pub ram: Arc<GuestRam>,
    pub interrupt: Arc<Interrupt>,
    queues: usize,
    /// Next free descriptor and next available index of each queue.
    next: RefCell<Vec<(u16, u16)>>,
}

impl Guest {
    pub fn new(queues: usize) -> Self {
        Self {
            ram: memory::allocate(memory::RAM_BYTES_MIN).unwrap(),
            interrupt: Arc::new(Interrupt::new(EventFd::new(EFD_NONBLOCK).unwrap())),
            queues,
            next: RefCell::new(vec![(0, 0); queues]),
        }
    }

    fn at(queue: usize, part: u64, offset: u64) -> GuestAddress {
        GuestAddress(0x1_0000 + queue as u64 * QUEUE_BYTES + part + offset)
    }

    fn put<T: vm_memory::ByteValued>(&self, value: T, at: GuestAddress) {
        self.ram.write_obj(value, at).unwrap();
    }

    /// Makes a request of readable and writable buffers (address, length) available.
    pub fn add(&self, queue: usize, readable: &[(u64, u32)], writable: &[(u64, u32)]) {
        let first = self.next.borrow()[queue].0;
        let count = (readable.len() + writable.len()) as u16;
        let buffers = readable.iter().map(|b| (b, 0)).chain(writable.iter().map(|b| (b, WRITE)));
        let raw: Vec<_> = buffers
            .enumerate()
            .map(|(i, (&(start, bytes), flag))| {
                let i = i as u16;
                let next = if i + 1 < count { NEXT } else { 0 };
                (start, bytes, flag | next, (first + i + 1) % SIZE)
            })
            .collect();
        self.add_raw(queue, &raw);
    }

    /// Makes descriptors (address, length, flags, next) available as they are.
    pub fn add_raw(&self, queue: usize, descriptors: &[(u64, u32, u16, u16)]) {
        let (first, available) = self.next.borrow()[queue];
        for (i, &(start, bytes, flags, next)) in descriptors.iter().enumerate() {
            let index = (u64::from(first) + i as u64) % u64::from(SIZE);
            let raw = RawDescriptor::from(Descriptor::new(start, bytes, flags, next));
            self.put(raw, Self::at(queue, DESC, index * 16));
        }
        let slot = u64::from(available % SIZE);
        self.put(first, Self::at(queue, AVAIL, 4 + slot * 2));
        let available = available.wrapping_add(1);
        self.put(available, Self::at(queue, AVAIL, 2));
        self.next.borrow_mut()[queue] = ((first + descriptors.len() as u16) % SIZE, available);
    }

    /// The index of the descriptor that follows the `index`-th of the next chain.
    pub fn next_index(&self, queue: usize, index: usize) -> u16 {
        (self.next.borrow()[queue].0 + index as u16 + 1) % SIZE
    }

    /// Says that requests up to `index` are available, whatever lies there.
    pub fn set_available(&self, queue: usize, index: u16) {
        self.put(index, Self::at(queue, AVAIL, 2));
        self.next.borrow_mut()[queue].1 = index;
    }

    /// The queues as the device gets them.
    pub fn activation(&self, features: u64) -> Activation {
        let rings = (0..self.queues)
            .map(|index| {
                let mut queue = Queue::new(SIZE).unwrap();
                let low = |part| Some(Self::at(index, part, 0).0 as u32);
                queue.set_desc_table_address(low(DESC), None);
                queue.set_avail_ring_address(low(AVAIL), None);
                queue.set_used_ring_address(low(USED), None);
                queue.set_ready(true);
                assert!(queue.is_valid(&*self.ram));
                Some(Ring::new(queue, self.ram.clone(), self.interrupt.clone()))
            })
            .collect();
        Activation { rings, features, poller: Poller::new(Arc::new(Epoll::new().unwrap()), 0) }
    }

    /// Written lengths of all completions of a queue, in order.
    pub fn used(&self, queue: usize) -> Vec<u32> {
        let count: u16 = self.ram.read_obj(Self::at(queue, USED, 2)).unwrap();
        (0..u64::from(count))
            .map(|i| {
                let at = Self::at(queue, USED, 4 + (i % u64::from(SIZE)) * 8 + 4);
                self.ram.read_obj(at).unwrap()
            })
            .collect()
    }

    pub fn read(&self, start: u64, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.ram.read_slice(&mut data, GuestAddress(start)).unwrap();
        data
    }

    pub fn write(&self, start: u64, data: &[u8]) {
        self.ram.write_slice(data, GuestAddress(start)).unwrap();
    }
}
