//! The `builder` crate.
