//! One request of the guest: a descriptor chain, split into what the device reads and what it writes.

use std::sync::Arc;

use memory::GuestRam;
use virtio_queue::DescriptorChain;

use crate::spans::Spans;

/// Most buffers of one chain; longer ones are refused (a queue has 256 descriptors at most).
pub const CHAIN_BUFFERS_MAX: usize = 256;

/// Why a chain was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A buffer is not wholly in RAM.
    #[error("a buffer lies outside guest memory")]
    OutsideRam,
    /// The device would read after it writes (virtio 2.7.4.2).
    #[error("a readable buffer follows a writable one")]
    Order,
    /// It has no end, or an index outside the table, or a bad indirect table.
    #[error("the descriptor chain is broken or too long")]
    Broken,
}

/// The buffers of a request. The value is reused from request to request.
pub struct Chain {
    /// Index by which the request is completed.
    pub head: u16,
    /// What the guest gave.
    pub readable: Spans,
    /// What the guest wants filled.
    pub writable: Spans,
}

impl Chain {
    /// An empty request.
    pub fn new(ram: &Arc<GuestRam>) -> Self {
        Self { head: 0, readable: Spans::new(ram.clone()), writable: Spans::new(ram.clone()) }
    }

    /// Takes over the buffers of `source` after checking each.
    pub(crate) fn load(&mut self, source: DescriptorChain<&GuestRam>) -> Result<(), Error> {
        self.head = source.head_index();
        self.readable.clear();
        self.writable.clear();
        let (mut ended, mut buffers) = (false, 0);
        for descriptor in source {
            buffers += 1;
            if buffers > CHAIN_BUFFERS_MAX {
                return Err(Error::Broken);
            }
            let spans = if descriptor.is_write_only() {
                &mut self.writable
            } else if self.writable.bytes() > 0 {
                return Err(Error::Order);
            } else {
                &mut self.readable
            };
            if !spans.push(descriptor.addr(), descriptor.len()) {
                return Err(Error::OutsideRam);
            }
            ended = !descriptor.has_next();
        }
        // The iterator just stops at a bad index or at a chain longer than the table.
        if ended { Ok(()) } else { Err(Error::Broken) }
    }
}
