//! Affinity and anti-affinity between pods.

use client::selector;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};

use crate::framework::{Misfit, NodeInfo, Plugin, Snapshot, labels, namespace, spec};

#[derive(Debug)]
pub(super) struct InterPodAffinity;

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, all: &Snapshot) -> Result<(), Misfit> {
        let (wanted, unwanted) = (required_affinity(pod), required_anti_affinity(pod));
        if !wanted.iter().all(|term| affinity_holds(pod, term, node, all)) {
            return Err(Misfit::never("node(s) didn't match pod affinity rules"));
        }
        if unwanted.iter().any(|term| near(node, term, all, |other| selects(term, pod, other))) {
            return Err(Misfit::now("node(s) didn't match pod anti-affinity rules"));
        }
        let refused = all.values().any(|other_node| {
            other_node.pods.iter().any(|other| {
                required_anti_affinity(other)
                    .iter()
                    .any(|term| selects(term, other, pod) && same_domain(term, node, other_node))
            })
        });
        if refused {
            return Err(Misfit::now("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, all: &Snapshot) -> i64 {
        let affinity = spec(pod).affinity.as_ref();
        let liked =
            affinity.and_then(|affinity| affinity.pod_affinity.as_ref()).and_then(|terms| {
                terms.preferred_during_scheduling_ignored_during_execution.as_deref()
            });
        let disliked =
            affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref()).and_then(|terms| {
                terms.preferred_during_scheduling_ignored_during_execution.as_deref()
            });
        let sum = |terms: Option<&[WeightedPodAffinityTerm]>| -> i64 {
            let holding = terms.unwrap_or_default().iter().filter(|weighted| {
                let term = &weighted.pod_affinity_term;
                near(node, term, all, |other| selects(term, pod, other))
            });
            holding.map(|weighted| i64::from(weighted.weight)).sum()
        };
        sum(liked) - sum(disliked)
    }

    fn weight(&self) -> i64 {
        2
    }

    fn normalise(&self, scores: &mut [i64]) {
        let lowest = scores.iter().copied().min().unwrap_or(0);
        for score in scores.iter_mut() {
            *score -= lowest;
        }
        crate::framework::scale(scores, false);
    }
}

/// A required term holds where a matching pod is near, or where none exists at all and the pod matches itself.
fn affinity_holds(pod: &Pod, term: &PodAffinityTerm, node: &NodeInfo, all: &Snapshot) -> bool {
    if node.label(&term.topology_key).is_none() {
        return false;
    }
    if near(node, term, all, |other| selects(term, pod, other)) {
        return true;
    }
    let any = all.values().any(|node| node.pods.iter().any(|other| selects(term, pod, other)));
    !any && selects(term, pod, pod)
}

/// Whether a pod in the node's topology domain satisfies the test.
fn near(
    node: &NodeInfo,
    term: &PodAffinityTerm,
    all: &Snapshot,
    test: impl Fn(&Pod) -> bool,
) -> bool {
    all.values()
        .any(|other| same_domain(term, node, other) && other.pods.iter().any(|pod| test(pod)))
}

fn same_domain(term: &PodAffinityTerm, a: &NodeInfo, b: &NodeInfo) -> bool {
    let domain = a.label(&term.topology_key);
    domain.is_some() && domain == b.label(&term.topology_key)
}

/// Whether a term of `owner` selects `other`.
fn selects(term: &PodAffinityTerm, owner: &Pod, other: &Pod) -> bool {
    let listed = term.namespaces.as_deref().unwrap_or_default();
    let in_namespace = match (&term.namespace_selector, listed.is_empty()) {
        (None, true) => namespace(other) == namespace(owner),
        // An empty selector means all namespaces; others need namespace labels, which are not in the snapshot.
        (Some(selector), _) if *selector == Default::default() => true,
        (_, _) => listed.iter().any(|name| name == namespace(other)),
    };
    in_namespace && selector::matches(term.label_selector.as_ref(), labels(other))
}

fn required_affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity = spec(pod).affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
    affinity
        .and_then(|terms| terms.required_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

fn required_anti_affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity =
        spec(pod).affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    affinity
        .and_then(|terms| terms.required_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}
