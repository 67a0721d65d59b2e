//! Puts the machine together from its configuration.

mod devices;
mod machine;

pub use machine::{Parts, build};
