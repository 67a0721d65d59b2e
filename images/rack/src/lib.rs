//! Virtual bare metal: QEMU machines that boot as servers do, and the one-shot machine that VM tests run in.

pub mod host;
pub mod machine;
pub mod netns;
pub mod process;
pub mod vmtest;
