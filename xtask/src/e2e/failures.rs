//! Failures: what is killed comes back, and nothing else is touched.

mod memory;
mod node;
mod processes;
mod server;

pub use memory::out_of_memory;
pub use node::node_off;
pub use processes::{agent_killed, vmm_killed};
pub use server::server_killed;
