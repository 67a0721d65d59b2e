//! Makes what machines boot and what pods run: guest kernel, guest and node initramfs, demo OCI images.
//!
//! Inputs are Debian packages and our own static binaries. Heavy results are cached by the hash of their inputs.

pub mod cpio;
pub mod debian;
pub mod elf;
pub mod exec;
pub mod guest;
pub mod kernel;
pub mod modules;
pub mod node;
pub mod oci;
