//! The `volume` crate.
