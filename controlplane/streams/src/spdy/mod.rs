//! SPDY/3.1, as much as Kubernetes uses: frames, compressed headers, streams over one connection.
//!
//! Source: the draft "SPDY Protocol - Draft 3.1". [`frame`] is pure; [`Session`] owns the two tasks of a connection.

mod dictionary;
mod frame;
mod headers;
mod session;
mod stream;
mod window;

pub use frame::{Decoder, Encoder, Frame, FrameError};
pub use headers::Headers;
pub use session::{Role, Session};
pub use stream::{Stream, StreamReader, StreamWriter};

#[cfg(test)]
mod tests;
