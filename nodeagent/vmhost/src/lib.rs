//! The `vmhost` crate.
