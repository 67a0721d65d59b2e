//! One scheduling cycle: filter, score, choose.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::framework::{Misfit, Plugin, Snapshot};

/// No node fits; each node's first reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoFit {
    pub misfits: BTreeMap<String, Misfit>,
}

impl std::fmt::Display for NoFit {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.` as upstream's FitError.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.misfits.is_empty() {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for misfit in self.misfits.values() {
            *counts.entry(&misfit.reason).or_default() += 1;
        }
        let mut texts: Vec<String> =
            counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        texts.sort();
        write!(f, "0/{} nodes are available: {}.", self.misfits.len(), texts.join(", "))
    }
}

impl std::error::Error for NoFit {}

/// The best node for the pod. Equal scores are decided by name, so that a cycle can be repeated.
pub fn schedule(plugins: &[Box<dyn Plugin>], pod: &Pod, all: &Snapshot) -> Result<String, NoFit> {
    let mut fitting = Vec::new();
    let mut misfits = BTreeMap::new();
    for (name, node) in all {
        match plugins.iter().try_for_each(|plugin| plugin.filter(pod, node, all)) {
            Ok(()) => fitting.push(node),
            Err(misfit) => {
                misfits.insert(name.clone(), misfit);
            }
        }
    }
    if fitting.len() == 1 {
        return Ok(fitting[0].name().to_owned());
    }
    let mut totals = vec![0_i64; fitting.len()];
    for plugin in plugins.iter().filter(|plugin| plugin.weight() > 0) {
        let mut scores: Vec<i64> =
            fitting.iter().map(|node| plugin.score(pod, node, all)).collect();
        plugin.normalise(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += score * plugin.weight();
        }
    }
    let best = totals.iter().copied().max();
    let chosen = fitting.iter().zip(&totals).find(|(_, total)| Some(**total) == best);
    chosen.map(|(node, _)| node.name().to_owned()).ok_or(NoFit { misfits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        framework::NodeInfo,
        plugins::default_plugins,
        testing::{node, pod},
    };

    fn place(pod: &Pod, nodes: Vec<NodeInfo>) -> String {
        let all: Snapshot = nodes.into_iter().map(|node| (node.name().to_owned(), node)).collect();
        match schedule(&default_plugins(), pod, &all) {
            Ok(name) => name,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn resources_decide() {
        let small = node("a", "1", "1Gi", &[]);
        let large = node("b", "4", "8Gi", &[]);
        assert_eq!(place(&pod("x", "2", "1Gi"), vec![small.clone(), large.clone()]), "b");
        assert_eq!(
            place(&pod("x", "8", "1Gi"), vec![small, large]),
            "0/2 nodes are available: 2 Insufficient cpu."
        );
        assert_eq!(place(&pod("x", "1", "1Gi"), vec![]), "no nodes available to schedule pods");
    }

    #[test]
    fn the_emptier_node_wins() {
        let mut busy = node("a", "4", "8Gi", &[]);
        busy.add(std::sync::Arc::new(pod("other", "2", "4Gi")));
        assert_eq!(place(&pod("x", "1", "1Gi"), vec![busy, node("b", "4", "8Gi", &[])]), "b");
    }

    #[test]
    fn cordons_and_taints_keep_pods_away() {
        let mut cordoned = node("a", "4", "8Gi", &[]);
        let mut inner = (*cordoned.node).clone();
        inner.spec.get_or_insert_default().unschedulable = Some(true);
        cordoned.node = std::sync::Arc::new(inner);
        let mut tainted = node("b", "4", "8Gi", &[]);
        let mut inner = (*tainted.node).clone();
        inner.spec.get_or_insert_default().taints = Some(vec![k8s_openapi::api::core::v1::Taint {
            key: "node.kubernetes.io/not-ready".into(),
            effect: "NoSchedule".into(),
            ..Default::default()
        }]);
        tainted.node = std::sync::Arc::new(inner);
        assert_eq!(
            place(&pod("x", "1", "1Gi"), vec![cordoned, tainted]),
            "0/2 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 1 node(s) were unschedulable."
        );
    }

    #[test]
    fn siblings_are_spread_and_spread_constraints_hold() {
        let zone = |name, zone| node(name, "4", "8Gi", &[("zone", zone)]);
        let mut first = zone("a", "z1");
        let mut sibling = pod("s", "100m", "64Mi");
        sibling.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
        first.add(std::sync::Arc::new(sibling.clone()));
        let mut next = sibling.clone();
        next.spec.get_or_insert_default().topology_spread_constraints =
            serde_json::from_value(serde_json::json!([{
                "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}},
            }]))
            .ok();
        assert_eq!(place(&next, vec![first.clone(), zone("b", "z2")]), "b");
        let alone = place(&next, vec![first, node("c", "1", "1Mi", &[("zone", "z2")])]);
        assert_eq!(
            alone,
            "0/2 nodes are available: 1 Insufficient memory, 1 node(s) didn't match pod topology spread constraints."
        );
    }

    #[test]
    fn anti_affinity_keeps_pods_apart() {
        let host = |name| node(name, "4", "8Gi", &[("kubernetes.io/hostname", name)]);
        let mut own = pod("x", "1", "1Gi");
        own.metadata.labels = Some([("app".to_owned(), "db".to_owned())].into());
        own.spec.get_or_insert_default().affinity = serde_json::from_value(serde_json::json!({
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}]},
        }))
        .ok();
        let mut taken = host("a");
        taken.add(std::sync::Arc::new(own.clone()));
        assert_eq!(place(&own, vec![taken, host("b")]), "b");
    }
}
