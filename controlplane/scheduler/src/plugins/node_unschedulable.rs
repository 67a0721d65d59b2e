//! Cordoned nodes take only pods that tolerate it.

use k8s_openapi::api::core::v1::{Pod, Taint};

use super::taints::tolerates;
use crate::framework::{Misfit, NodeInfo, Plugin, Snapshot, spec};

#[derive(Debug)]
pub(super) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> Result<(), Misfit> {
        let cordoned = node.node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        if !cordoned || tolerates(spec(pod), &taint) {
            return Ok(());
        }
        Err(Misfit::never("node(s) were unschedulable"))
    }
}
