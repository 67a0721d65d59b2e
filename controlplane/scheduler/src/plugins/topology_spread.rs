//! Topology spread constraints (KEP-895), and the cluster's default: spread a workload's pods over nodes.

use std::collections::BTreeMap;

use client::selector;
use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};

use super::node_affinity::allowed;
use crate::framework::{Misfit, NodeInfo, Plugin, Snapshot, labels, namespace, scale, spec};

#[derive(Debug)]
pub(super) struct TopologySpread;

impl Plugin for TopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, all: &Snapshot) -> Result<(), Misfit> {
        for constraint in constraints(pod, "DoNotSchedule") {
            let Some(domain) = node.label(&constraint.topology_key) else {
                return Err(Misfit::never(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                ));
            };
            let counts = count_domains(pod, constraint, all);
            let fewest = counts.values().copied().min().unwrap_or(0);
            let enough = constraint.min_domains.is_none_or(|domains| {
                i64::try_from(counts.len()).unwrap_or(i64::MAX) >= i64::from(domains)
            });
            let fewest = if enough { fewest } else { 0 };
            let own = i64::from(selector::matches(constraint.label_selector.as_ref(), labels(pod)));
            let here = counts.get(domain).copied().unwrap_or(0);
            if here + own - fewest > i64::from(constraint.max_skew) {
                return Err(Misfit::now("node(s) didn't match pod topology spread constraints"));
            }
        }
        Ok(())
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, all: &Snapshot) -> i64 {
        let soft: Vec<_> = constraints(pod, "ScheduleAnyway").collect();
        if soft.is_empty() {
            return siblings_on(pod, node);
        }
        let crowd = |constraint: &TopologySpreadConstraint| {
            let counts = count_domains(pod, constraint, all);
            node.label(&constraint.topology_key)
                .and_then(|domain| counts.get(domain).copied())
                .unwrap_or(0)
        };
        soft.into_iter().map(crowd).sum()
    }

    fn weight(&self) -> i64 {
        2
    }

    fn normalise(&self, scores: &mut [i64]) {
        scale(scores, true);
    }
}

fn constraints<'a>(
    pod: &'a Pod,
    action: &'a str,
) -> impl Iterator<Item = &'a TopologySpreadConstraint> {
    let all = spec(pod).topology_spread_constraints.iter().flatten();
    all.filter(move |constraint| constraint.when_unsatisfiable == action)
}

/// Matching pods in each domain that the pod could use.
fn count_domains<'a>(
    pod: &Pod,
    constraint: &TopologySpreadConstraint,
    all: &'a Snapshot,
) -> BTreeMap<&'a str, i64> {
    let mut counts = BTreeMap::new();
    for node in all.values().filter(|node| allowed(pod, node)) {
        let Some(domain) = node.label(&constraint.topology_key) else { continue };
        let matching = node.pods.iter().filter(|other| {
            namespace(other) == namespace(pod)
                && other.metadata.deletion_timestamp.is_none()
                && selector::matches(constraint.label_selector.as_ref(), labels(other))
        });
        *counts.entry(domain).or_default() += i64::try_from(matching.count()).unwrap_or(i64::MAX);
    }
    counts
}

/// Pods of the same controller on a node.
fn siblings_on(pod: &Pod, node: &NodeInfo) -> i64 {
    let Some(owner) = owner(pod) else { return 0 };
    let siblings = node.pods.iter().filter(|other| owner_is(other, owner)).count();
    i64::try_from(siblings).unwrap_or(i64::MAX)
}

fn owner(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

fn owner_is(pod: &Pod, uid: &str) -> bool {
    owner(pod) == Some(uid)
}
