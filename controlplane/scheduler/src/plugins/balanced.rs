//! A preference for nodes whose CPU and memory would be used in equal parts (NodeResourcesBalancedAllocation).

use k8s_openapi::api::core::v1::Pod;

use crate::{
    framework::{NodeInfo, Plugin, SCORE_MAX, Snapshot},
    resources,
};

#[derive(Debug)]
pub(super) struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> i64 {
        let (cpu, memory) = resources::scoring_request(pod);
        // Used parts of each resource, in percent.
        let part = |name: &str, used: i128| -> i64 {
            let has = node.allocatable.get(name).copied().unwrap_or(0).max(1);
            i64::try_from((used * i128::from(SCORE_MAX) / has).min(i128::from(SCORE_MAX)))
                .unwrap_or(0)
        };
        let difference =
            part("cpu", node.scoring.0 + cpu) - part("memory", node.scoring.1 + memory);
        // The standard deviation of two values is half their distance.
        SCORE_MAX - difference.abs() / 2
    }

    fn weight(&self) -> i64 {
        1
    }

    fn normalise(&self, _scores: &mut [i64]) {}
}
