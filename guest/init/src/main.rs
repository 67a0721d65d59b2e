//! The `init` binary.

fn main() {}
