//! The `container` crate.
