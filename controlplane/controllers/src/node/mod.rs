//! Nodes: whether they live (lease), what happens to their pods when they do not, and their pod addresses.

pub(crate) mod ipam;
pub(crate) mod lifecycle;
mod plan;
