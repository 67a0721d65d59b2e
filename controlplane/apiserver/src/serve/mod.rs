//! From sockets to handlers.

mod dispatch;
mod handle;
mod health;
mod listen;
mod paths;
pub mod websocket;

pub use listen::{bind, serve};
pub use paths::GIT_VERSION;
