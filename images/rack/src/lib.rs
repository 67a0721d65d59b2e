//! The `rack` crate.
