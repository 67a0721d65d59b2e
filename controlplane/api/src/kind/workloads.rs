//! Kinds of apps, batch, autoscaling and policy.

use super::Kind;
use super::builder::{Group, group};

const APPS: Group = group("apps", "v1", "io.k8s.api.apps.v1");
const BATCH: Group = group("batch", "v1", "io.k8s.api.batch.v1");
const AUTOSCALING_V1: Group = group("autoscaling", "v1", "io.k8s.api.autoscaling.v1");
const AUTOSCALING_V2: Group = group("autoscaling", "v2", "io.k8s.api.autoscaling.v2");
const POLICY: Group = group("policy", "v1", "io.k8s.api.policy.v1");

pub(super) fn apps() -> Vec<Kind> {
    vec![
        APPS.namespaced("ControllerRevision", "controllerrevisions"),
        APPS.namespaced("DaemonSet", "daemonsets").short("ds").category("all").status(),
        APPS.namespaced("Deployment", "deployments")
            .short("deploy")
            .category("all")
            .scale()
            .status(),
        APPS.namespaced("ReplicaSet", "replicasets")
            .short("rs")
            .category("all")
            .scale()
            .status()
            .selects("status.replicas"),
        APPS.namespaced("StatefulSet", "statefulsets")
            .short("sts")
            .category("all")
            .scale()
            .status(),
    ]
}

/// The preferred version of a group comes first: autoscaling/v2 is also the stored one.
pub(super) fn autoscaling_and_batch() -> Vec<Kind> {
    let scaler = |group: Group| {
        group
            .namespaced("HorizontalPodAutoscaler", "horizontalpodautoscalers")
            .short("hpa")
            .category("all")
            .status()
            .stored_as("v2")
    };
    vec![
        scaler(AUTOSCALING_V2),
        scaler(AUTOSCALING_V1),
        BATCH.namespaced("CronJob", "cronjobs").short("cj").category("all").status(),
        BATCH.namespaced("Job", "jobs").category("all").status().selects("status.successful"),
    ]
}

pub(super) fn policy() -> Vec<Kind> {
    vec![POLICY.namespaced("PodDisruptionBudget", "poddisruptionbudgets").short("pdb").status()]
}
