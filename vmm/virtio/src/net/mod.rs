//! The network device (virtio 5.1) on a tap with virtio-net headers.

mod device;
pub mod offload;

pub use device::{Error, Net};
