//! A virtqueue in use by a device: its addresses are frozen, requests come out checked, completions
//! raise the guest's interrupt when the guest wants one.

use std::sync::Arc;

use memory::GuestRam;
use virtio_queue::{Queue, QueueOwnedT, QueueT};

use crate::chain::{self, Chain};
use crate::interrupt::Interrupt;

/// A fault of the guest in its own queue. The device stops and asks for a reset.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rings themselves.
    #[error("use the queue")]
    Queue(#[source] virtio_queue::Error),
    /// See [`chain::Error`].
    #[error("read a request")]
    Chain(#[source] chain::Error),
}

/// A queue that the driver made ready.
pub struct Ring {
    queue: Queue,
    ram: Arc<GuestRam>,
    interrupt: Arc<Interrupt>,
}

impl Ring {
    /// Takes a queue that [`QueueT::is_valid`] accepted.
    pub fn new(queue: Queue, ram: Arc<GuestRam>, interrupt: Arc<Interrupt>) -> Self {
        Self { queue, ram, interrupt }
    }

    /// An empty request for [`Ring::pop`].
    pub fn new_chain(&self) -> Chain {
        Chain::new(&self.ram)
    }

    /// Takes the next request, if there is one.
    pub fn pop(&mut self, chain: &mut Chain) -> Result<bool, Error> {
        let mut available = self.queue.iter(&*self.ram).map_err(Error::Queue)?;
        match available.next() {
            Some(source) => chain.load(source).map_err(Error::Chain).map(|()| true),
            None => Ok(false),
        }
    }

    /// Puts the request that was popped last back.
    pub fn undo_pop(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Gives a request back with `written` bytes filled.
    pub fn complete(&mut self, head: u16, written: usize) -> Result<(), Error> {
        // A chain is never longer than a u32 (virtio 2.7.5.2).
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        self.queue.add_used(&*self.ram, head, written).map_err(Error::Queue)
    }

    /// Interrupts the guest if it asked to hear of what was completed since the last call.
    pub fn notify(&mut self) -> Result<(), Error> {
        if self.queue.needs_notification(&*self.ram).map_err(Error::Queue)? {
            self.interrupt.signal_queue();
        }
        Ok(())
    }

    /// Asks the guest for a kick at the next request; true if requests are already there.
    pub fn enable_kicks(&mut self) -> Result<bool, Error> {
        self.queue.enable_notification(&*self.ram).map_err(Error::Queue)
    }

    /// Tells the guest that no kick is needed.
    pub fn disable_kicks(&mut self) -> Result<(), Error> {
        self.queue.disable_notification(&*self.ram).map_err(Error::Queue)
    }
}
