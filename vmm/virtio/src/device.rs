//! What every device is: a profile for the transport, and a state machine that the worker drives.

use crate::poller::Poller;
use crate::ring::{self, Ring};

/// Most queues of one device.
pub const QUEUES_MAX: usize = 3;
/// Size of every queue.
pub const QUEUE_SIZE: u16 = 256;

/// What the transport tells the driver; fixed for the life of the VM.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Virtio device id (virtio 5).
    pub id: u32,
    /// Offered feature bits without those of the transport.
    pub features: u64,
    /// Number of queues.
    pub queues: usize,
    /// Device-specific configuration space.
    pub config: Vec<u8>,
}

/// Why a device is asked to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The driver kicked a queue (or the device was just activated).
    Queue(usize),
    /// A descriptor registered with [`Poller::add`] is ready.
    Fd {
        /// The token given at registration.
        token: u32,
        /// `EPOLL*` bits.
        events: u32,
    },
    /// The device said [`Progress::More`] before.
    Again,
}

/// How far a device came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Nothing to do until the next event.
    Idle,
    /// It stopped to give others a turn; call again with [`Cause::Again`].
    More,
}

/// Why a device stopped. The guest sees `DEVICE_NEEDS_RESET`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guest's queue is faulty.
    #[error("faulty queue")]
    Ring(#[from] ring::Error),
    /// The host's side failed.
    #[error("{what}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A queue that the device needs was not set up.
    #[error("queue {0} is not set up")]
    QueueMissing(usize),
}

/// What the driver set up.
pub struct Activation {
    /// The queues; those that the driver left out are `None`.
    pub rings: Vec<Option<Ring>>,
    /// Negotiated features.
    pub features: u64,
    /// For descriptors of the device's own.
    pub poller: Poller,
}

impl Activation {
    /// Takes queue `index`.
    pub fn take_ring(&mut self, index: usize) -> Result<Ring, Error> {
        self.rings.get_mut(index).and_then(Option::take).ok_or(Error::QueueMissing(index))
    }

    /// Whether feature bit `bit` was negotiated.
    pub fn has(&self, bit: u32) -> bool {
        self.features & (1 << bit) != 0
    }
}

/// A device, owned by the worker thread.
pub trait Device: Send {
    /// For log lines.
    fn name(&self) -> &'static str;
    /// What it is; asked once, before the worker gets it.
    fn profile(&self) -> Profile;
    /// The driver is ready (DRIVER_OK). Afterwards `process` is called once for each queue.
    fn activate(&mut self, activation: Activation) -> Result<(), Error>;
    /// Does what can be done now. Called only while active.
    fn process(&mut self, cause: Cause) -> Result<Progress, Error>;
    /// Gives up queues and registrations; the driver resets the device.
    fn reset(&mut self);
}
