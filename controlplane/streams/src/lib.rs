//! The `streams` crate.
