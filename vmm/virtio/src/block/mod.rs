//! The block device (virtio 5.2) on a file or a host block device.

mod device;
pub mod request;

pub use device::{Block, Error};
