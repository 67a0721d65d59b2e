//! The `podloop` crate.
