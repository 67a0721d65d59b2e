//! A pod that names its node goes nowhere else.

use k8s_openapi::api::core::v1::Pod;

use crate::framework::{Misfit, NodeInfo, Plugin, Snapshot, spec};

#[derive(Debug)]
pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> Result<(), Misfit> {
        match spec(pod).node_name.as_deref() {
            None | Some("") => Ok(()),
            Some(name) if name == node.name() => Ok(()),
            Some(_) => Err(Misfit::never("node(s) didn't match the requested node name")),
        }
    }
}
