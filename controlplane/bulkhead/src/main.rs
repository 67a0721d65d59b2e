//! The `bulkhead` binary.

fn main() {}
