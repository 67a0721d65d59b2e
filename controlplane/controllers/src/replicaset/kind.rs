//! What a ReplicaSet and a ReplicationController have in common: the older kind is planned as if it were the newer
//! (upstream `pkg/controller/replication/conversion.go`).

use client::Informer;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus},
        core::v1::ReplicationController,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use crate::{Informers, ownership::Owned};

/// A kind that keeps a number of equal pods.
pub(crate) trait Replicated: Owned {
    /// The controller's name in logs and metrics.
    const CONTROLLER: &'static str;

    fn informer(informers: &Informers) -> &Informer<Self>;

    /// As a ReplicaSet.
    fn view(&self) -> ReplicaSet;

    fn selector(&self) -> Option<LabelSelector>;
}

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset";

    fn informer(informers: &Informers) -> &Informer<Self> {
        &informers.replica_sets
    }

    fn view(&self) -> ReplicaSet {
        self.clone()
    }

    fn selector(&self) -> Option<LabelSelector> {
        self.spec.as_ref().map(|spec| spec.selector.clone())
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replicationcontroller";

    fn informer(informers: &Informers) -> &Informer<Self> {
        &informers.replication_controllers
    }

    fn view(&self) -> ReplicaSet {
        let spec = self.spec.clone().unwrap_or_default();
        let status = self.status.clone().map(|status| ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|conditions| {
                let same = conditions.into_iter().map(|condition| ReplicaSetCondition {
                    type_: condition.type_,
                    status: condition.status,
                    reason: condition.reason,
                    message: condition.message,
                    last_transition_time: condition.last_transition_time,
                });
                same.collect()
            }),
            terminating_replicas: None,
        });
        ReplicaSet {
            metadata: self.metadata.clone(),
            spec: Some(ReplicaSetSpec {
                replicas: spec.replicas,
                min_ready_seconds: spec.min_ready_seconds,
                selector: LabelSelector { match_labels: spec.selector, match_expressions: None },
                template: spec.template,
            }),
            status,
        }
    }

    fn selector(&self) -> Option<LabelSelector> {
        let match_labels = self.spec.as_ref()?.selector.clone();
        Some(LabelSelector { match_labels, match_expressions: None })
    }
}
