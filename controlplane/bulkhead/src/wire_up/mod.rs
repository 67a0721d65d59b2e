//! Builds the running system from its parts, one file per part.

mod controllers;
pub mod logging;
mod metal;
mod scheduler;
pub mod server;
