//! The VMM process: configuration, jail, wiring of the machine, control service.

pub mod bus;
pub mod config;
pub mod console;
pub mod control;
pub mod jail;
pub mod log;
pub mod run;
pub mod wire_up;
