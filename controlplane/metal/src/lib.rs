//! The `metal` crate.
