//! The machine as KVM knows it: memory slots, interrupt controllers, processors and their threads.

pub mod bus;
pub mod cpuid;
pub mod gate;
pub mod machine;
pub mod probe;
pub mod registers;
pub mod threads;
pub mod vcpu;

pub use bus::{Action, Bus};
pub use gate::Gate;
pub use machine::Machine;
pub use threads::{Outcome, Vcpus};
