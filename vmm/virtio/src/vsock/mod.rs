//! The socket device (virtio 5.10): streams between the guest and unix sockets of the host.
//!
//! A host client connects to the listener, writes `CONNECT <port>\n` and reads `OK <local port>\n`; from
//! then on the stream is the guest's. The guest may call out only to ports that were given a stream.
//!
//! ```text
//! host client ── CONNECT ──▶ Greeting ── REQUEST ──▶ Requested ── RESPONSE ──▶ Open
//! guest ── REQUEST to a configured port ──▶ Answering ── RESPONSE ──▶ Open
//! Open ── both sides shut, or RST ──▶ gone
//! ```

mod connection;
mod device;
pub mod flow;
pub mod greeting;
pub mod packet;
#[cfg(test)]
mod tests;

pub use device::{GuestPort, Vsock};
