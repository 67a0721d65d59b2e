//! A job's pods. Pure.

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{EnvVar, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::ResourceExt;
use serde_json::json;

use crate::podset::from_template;

/// Kept on a pod until its end is counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label with the completion index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Annotation with how often the index has failed before.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// A pod to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct New {
    pub index: Option<i32>,
    /// How often its index has failed, where that is limited.
    pub failures: Option<i32>,
}

/// A new pod of a job.
pub(super) fn pod_of(job: &Job, new: &New, owner: Option<OwnerReference>) -> Pod {
    let template = job.spec.clone().unwrap_or_default().template;
    let name = job.name_any();
    let prefix = new.index.map_or_else(|| format!("{name}-"), |index| format!("{name}-{index}-"));
    let mut pod = from_template(&template, job.namespace(), prefix, owner);
    pod.metadata.finalizers.get_or_insert_default().push(TRACKING.into());
    let Some(index) = new.index else { return pod };
    let text = index.to_string();
    pod.metadata.labels.get_or_insert_default().insert(INDEX.into(), text.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), text);
    if let Some(failures) = new.failures {
        annotations.insert(FAILURES.into(), failures.to_string());
    }
    let Some(spec) = &mut pod.spec else { return pod };
    spec.hostname = Some(format!("{name}-{index}"));
    let variable = json!({"name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.labels['{INDEX}']")}}});
    let variable: EnvVar = serde_json::from_value(variable).expect("it is a variable");
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in containers {
        let env = container.env.get_or_insert_default();
        if env.iter().all(|known| known.name != variable.name) {
            env.push(variable.clone());
        }
    }
    pod
}
