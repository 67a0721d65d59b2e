//! nodeSelector and node affinity.

use client::selector::term_matches;
use k8s_openapi::api::core::v1::Pod;

use crate::framework::{Misfit, NodeInfo, Plugin, Snapshot, spec};

#[derive(Debug)]
pub(super) struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> Result<(), Misfit> {
        if allowed(pod, node) {
            return Ok(());
        }
        Err(Misfit::never("node(s) didn't match Pod's node affinity/selector"))
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> i64 {
        let affinity =
            spec(pod).affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let preferred = affinity.and_then(|affinity| {
            affinity.preferred_during_scheduling_ignored_during_execution.as_ref()
        });
        preferred
            .into_iter()
            .flatten()
            .filter(|term| term_matches(&term.preference, &node.node))
            .map(|term| i64::from(term.weight))
            .sum()
    }

    fn weight(&self) -> i64 {
        2
    }
}

/// Whether the pod's required node affinity and nodeSelector allow the node.
pub(super) fn allowed(pod: &Pod, node: &NodeInfo) -> bool {
    let spec = spec(pod);
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| node.label(key) == Some(value.as_str()));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required.is_none_or(|required| {
            required.node_selector_terms.iter().any(|term| term_matches(term, &node.node))
        })
}
