//! The `microvm` binary.

fn main() {}
