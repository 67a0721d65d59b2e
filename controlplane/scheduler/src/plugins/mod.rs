//! The plugins, in the order in which they filter.

mod balanced;
mod fit;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_unschedulable;
mod pod_affinity;
mod taints;
mod topology_spread;

use crate::framework::Plugin;

/// Upstream's default plugins as far as they have meaning here.
#[must_use]
pub fn default_plugins() -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(node_unschedulable::NodeUnschedulable),
        Box::new(node_name::NodeName),
        Box::new(taints::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(node_ports::NodePorts),
        Box::new(fit::Fit),
        Box::new(topology_spread::TopologySpread),
        Box::new(pod_affinity::InterPodAffinity),
        Box::new(balanced::BalancedAllocation),
    ]
}
