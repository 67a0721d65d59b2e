//! Streaming to and from containers: exec, attach and port-forward, over WebSocket and SPDY/3.1, server side; and long answers as
//! messages of a WebSocket.
//!
//! Protocol only: what a command or a connection is, the caller decides. A request is accepted in two steps, as HTTP
//! wants it: [`accept_command`] or [`accept_forward`] makes the 101 response; once that is sent, `start` on what they
//! also return yields channels that do not know which transport is below.

mod command;
mod error;
mod forward;
mod messages;
mod negotiate;
mod options;
mod pump;
pub mod spdy;
pub mod status;
mod websocket;

pub use command::{Outcome, Output, PendingCommand, RemoteCommand, TerminalSize, accept_command};
pub use error::{Error, Refusal};
pub use forward::{Connection, ErrorSender, PendingForward, PortForward, accept_forward};
pub use messages::{Framing, Messages, accept_bytes, accept_events, is_websocket};
pub use options::{CommandOptions, forward_ports};
pub use pump::splice;
