//! What plugins see and say.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

use crate::resources::{self, Amounts};
use client::selector::Labels;

/// The largest score of one plugin for one node.
pub const SCORE_MAX: i64 = 100;

/// A node and what runs on it (or is assumed to).
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    pub pods: Vec<Arc<Pod>>,
    pub requested: Amounts,
    pub allocatable: Amounts,
    /// CPU and memory with defaults for containers without requests, for scores.
    pub scoring: (i128, i128),
}

impl NodeInfo {
    /// A node without pods.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        let status = node.status.as_ref();
        let allocatable = resources::amounts(status.and_then(|status| status.allocatable.as_ref()));
        Self { node, pods: Vec::new(), requested: Amounts::new(), allocatable, scoring: (0, 0) }
    }

    /// Counts a pod.
    pub fn add(&mut self, pod: Arc<Pod>) {
        resources::add(&mut self.requested, &resources::pod_request(&pod));
        let (cpu, memory) = resources::scoring_request(&pod);
        self.scoring = (self.scoring.0 + cpu, self.scoring.1 + memory);
        self.pods.push(pod);
    }

    /// Takes a pod out again.
    pub fn remove(&mut self, uid: &str) {
        let Some(index) = self.pods.iter().position(|pod| pod.metadata.uid.as_deref() == Some(uid))
        else {
            return;
        };
        let pod = self.pods.swap_remove(index);
        resources::subtract(&mut self.requested, &resources::pod_request(&pod));
        let (cpu, memory) = resources::scoring_request(&pod);
        self.scoring = (self.scoring.0 - cpu, self.scoring.1 - memory);
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    /// The value of a node label (a topology domain).
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

/// All nodes, by name.
pub type Snapshot = BTreeMap<String, NodeInfo>;

/// Why a node does not fit, in upstream's words, and whether removing pods could change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    pub reason: String,
    pub resolvable: bool,
}

impl Misfit {
    /// Removing pods from the node may help.
    #[must_use]
    pub fn now(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), resolvable: true }
    }

    /// No preemption helps.
    #[must_use]
    pub fn never(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), resolvable: false }
    }
}

/// A plugin. Each has the extension points it needs.
pub trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;

    /// Whether the pod may run on the node.
    fn filter(&self, _pod: &Pod, _node: &NodeInfo, _all: &Snapshot) -> Result<(), Misfit> {
        Ok(())
    }

    /// How good the node is, any range; higher is better. Normalised by `normalise`.
    fn score(&self, _pod: &Pod, _node: &NodeInfo, _all: &Snapshot) -> i64 {
        0
    }

    /// The weight of the score; 0 where the plugin does not score.
    fn weight(&self) -> i64 {
        0
    }

    /// Maps raw scores to 0..=SCORE_MAX. The default scales by the largest.
    fn normalise(&self, scores: &mut [i64]) {
        scale(scores, false);
    }
}

/// Scales scores to 0..=SCORE_MAX by the largest; `reverse` makes small ones good.
pub fn scale(scores: &mut [i64], reverse: bool) {
    let largest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if largest > 0 { *score * SCORE_MAX / largest } else { 0 };
        *score = if reverse { SCORE_MAX - scaled } else { scaled };
    }
}

/// The pod's spec; pods without one (which the API refuses) count as empty.
#[must_use]
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The pod's labels.
#[must_use]
pub fn labels(pod: &Pod) -> &Labels {
    static EMPTY: Labels = Labels::new();
    pod.metadata.labels.as_ref().unwrap_or(&EMPTY)
}

/// The pod's namespace.
#[must_use]
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}
