//! The Node object: registered once, its status kept true, its lease renewed.

mod facts;
mod lease;
mod peers;
mod register;

pub use facts::Machine;
pub use lease::renew_lease;
pub use peers::follow_peers;
pub use register::{Readiness, keep_status, register, wait_for_pod_cidr};
