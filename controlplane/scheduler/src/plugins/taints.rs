//! Taints and tolerations.

use k8s_openapi::api::core::v1::{Pod, PodSpec, Taint, Toleration};

use crate::framework::{Misfit, NodeInfo, Plugin, Snapshot, scale, spec};

#[derive(Debug)]
pub(super) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> Result<(), Misfit> {
        let untolerated = taints(node).find(|taint| {
            matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
                && !tolerates(spec(pod), taint)
        });
        match untolerated {
            None => Ok(()),
            Some(taint) => Err(Misfit::never(format!(
                "node(s) had untolerated taint {{{}: {}}}",
                taint.key,
                taint.value.as_deref().unwrap_or_default()
            ))),
        }
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> i64 {
        let avoided = taints(node)
            .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerates(spec(pod), taint))
            .count();
        i64::try_from(avoided).unwrap_or(i64::MAX)
    }

    fn weight(&self) -> i64 {
        3
    }

    fn normalise(&self, scores: &mut [i64]) {
        scale(scores, true);
    }
}

fn taints(node: &NodeInfo) -> impl Iterator<Item = &Taint> {
    node.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

/// Whether one of the pod's tolerations covers the taint (core/v1 `Toleration.ToleratesTaint`).
pub(super) fn tolerates(spec: &PodSpec, taint: &Taint) -> bool {
    spec.tolerations.iter().flatten().any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        Some(_) => false,
    }
}
