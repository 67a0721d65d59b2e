//! Enough of every resource, and a preference for the emptier node (LeastAllocated).

use k8s_openapi::api::core::v1::Pod;

use crate::{
    framework::{Misfit, NodeInfo, Plugin, SCORE_MAX, Snapshot},
    resources,
};

#[derive(Debug)]
pub(super) struct Fit;

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> Result<(), Misfit> {
        for (name, wanted) in resources::pod_request(pod) {
            let has = node.allocatable.get(&name).copied().unwrap_or(0);
            let used = node.requested.get(&name).copied().unwrap_or(0);
            if wanted > 0 && used + wanted > has {
                let reason = if name == "pods" {
                    "Too many pods".into()
                } else {
                    format!("Insufficient {name}")
                };
                return Err(if wanted > has { Misfit::never(reason) } else { Misfit::now(reason) });
            }
        }
        Ok(())
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> i64 {
        let (cpu, memory) = resources::scoring_request(pod);
        let free = |name: &str, used: i128| -> i64 {
            let has = node.allocatable.get(name).copied().unwrap_or(0);
            if has <= 0 || used > has {
                return 0;
            }
            i64::try_from((has - used) * i128::from(SCORE_MAX) / has).unwrap_or(0)
        };
        i64::midpoint(free("cpu", node.scoring.0 + cpu), free("memory", node.scoring.1 + memory))
    }

    fn weight(&self) -> i64 {
        1
    }

    fn normalise(&self, _scores: &mut [i64]) {}
}
