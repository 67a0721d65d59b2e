//! Virtio 1.2 devices over the mmio transport: the transport, the worker thread that owns the devices,
//! and a folder per device. Everything that a guest can reach returns errors and never panics.

pub mod block;
pub mod chain;
pub mod device;
#[cfg(any(test, feature = "fuzzing"))]
pub mod hostile;
pub mod interrupt;
pub mod mmio;
pub mod net;
pub mod poller;
pub mod ring;
pub mod rng;
pub mod spans;
pub mod sys;
#[cfg(any(test, feature = "fuzzing"))]
mod test_guest;
pub mod vsock;
pub mod worker;

pub use device::{Cause, Device, Profile, Progress};
pub use interrupt::Interrupt;
pub use mmio::Transport;
pub use worker::Worker;
