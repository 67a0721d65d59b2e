//! Builds the running system from its parts, one file per part.

pub mod logging;
mod parts;
pub mod server;
