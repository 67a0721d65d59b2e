//! The `nodeinit` binary.

fn main() {}
