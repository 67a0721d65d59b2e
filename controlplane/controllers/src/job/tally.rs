//! How a job's pods ended, so far (upstream `trackJobStatusAndRemoveFinalizers`). Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{JobSpec, UncountedTerminatedPods},
    core::v1::Pod,
};
use kube::ResourceExt;

use super::{
    indexes,
    plan::Plan,
    pod::{FAILURES, INDEX, TRACKING},
    policy::{self, Action},
};
use crate::pods::{is_finished, phase};

/// A job's pods by what they do.
pub(super) struct Sorted<'a> {
    pub active: Vec<&'a Pod>,
    pub terminating: Vec<&'a Pod>,
    pub succeeded: Vec<&'a Pod>,
    pub failed: Vec<&'a Pod>,
}

/// Whether a pod is replaced only when it has failed, not when it leaves.
pub(super) fn waits_for_failure(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Sorts a job's own pods.
pub(super) fn sort<'a>(spec: &JobSpec, pods: &'a [Arc<Pod>]) -> Sorted<'a> {
    let waits_for_failure = waits_for_failure(spec);
    let mut sorted =
        Sorted { active: vec![], terminating: vec![], succeeded: vec![], failed: vec![] };
    for pod in pods {
        let pod: &Pod = pod;
        let leaving = pod.metadata.deletion_timestamp.is_some();
        if leaving && !is_finished(pod) {
            sorted.terminating.push(pod);
        }
        match phase(pod) {
            "Succeeded" => sorted.succeeded.push(pod),
            "Failed" => sorted.failed.push(pod),
            _ if leaving && waits_for_failure => {}
            _ if leaving => sorted.failed.push(pod),
            _ => sorted.active.push(pod),
        }
    }
    sorted
}

/// What is known of all pods that ended.
pub(super) struct Tally {
    pub succeeded: i32,
    pub failed: i32,
    /// Of an indexed job.
    pub completed: BTreeSet<i32>,
    pub failed_indexes: BTreeSet<i32>,
    /// A pod's failure that ends the job.
    pub fatal: Option<String>,
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

pub(super) fn index(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX)?.parse().ok()
}

pub(super) fn failures(pod: &Pod) -> i32 {
    pod.annotations().get(FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Counts ends: those named before whose finalizer is gone become numbers, new ones are named.
pub(super) fn count(
    spec: &JobSpec,
    sorted: &Sorted<'_>,
    pods: &[Arc<Pod>],
    plan: &mut Plan,
) -> Tally {
    let status = &mut plan.status;
    let tracked: BTreeMap<&str, &Pod> = pods
        .iter()
        .filter(|pod| pod.finalizers().iter().any(|it| it == TRACKING))
        .map(|pod| (pod.metadata.uid.as_deref().unwrap_or_default(), &**pod))
        .collect();
    let named = status.uncounted_terminated_pods.take().unwrap_or_default();
    let fold = |uids: Option<Vec<String>>, total: &mut Option<i32>| {
        let (still, gone): (Vec<String>, Vec<String>) = uids
            .unwrap_or_default()
            .into_iter()
            .partition(|uid| tracked.contains_key(uid.as_str()));
        let count = i32::try_from(gone.len()).unwrap_or(0);
        *total = Some(total.unwrap_or(0) + count).filter(|total| *total > 0);
        still
    };
    let mut succeeded = fold(named.succeeded, &mut status.succeeded);
    let mut failed = fold(named.failed, &mut status.failed);
    let limit = spec.completions.unwrap_or(0);
    let read = |text: &Option<String>| indexes::parse(text.as_deref().unwrap_or_default(), limit);
    let mut completed = read(&status.completed_indexes);
    let mut failed_indexes = read(&status.failed_indexes);
    let mut fatal = None;
    let is_new =
        |pod: &&&Pod| tracked.contains_key(pod.metadata.uid.as_deref().unwrap_or_default());
    for pod in sorted.succeeded.iter().filter(is_new) {
        plan.untrack.push(pod.name_any());
        let uid = pod.uid().unwrap_or_default();
        match index(pod).filter(|_| is_indexed(spec)) {
            Some(index) if index < limit => drop(completed.insert(index)),
            Some(_) => {}
            None if succeeded.contains(&uid) => {}
            None => succeeded.push(uid),
        }
    }
    for pod in sorted.failed.iter().filter(is_new) {
        plan.untrack.push(pod.name_any());
        let uid = pod.uid().unwrap_or_default();
        let action =
            if phase(pod) == "Failed" { policy::failure(spec, pod) } else { Action::Count };
        let over = spec.backoff_limit_per_index.is_some_and(|limit| failures(pod) >= limit);
        match (&action, index(pod)) {
            (Action::Ignore, _) => continue,
            (Action::FailIndex, Some(index)) => drop(failed_indexes.insert(index)),
            (_, Some(index)) if over => drop(failed_indexes.insert(index)),
            _ => {}
        }
        if let Action::FailJob(message) = action {
            fatal.get_or_insert(message);
        }
        if !failed.contains(&uid) {
            failed.push(uid);
        }
    }
    // What has succeeded by another pod has not failed.
    failed_indexes.retain(|index| !completed.contains(index));
    let length = |list: &Vec<String>| i32::try_from(list.len()).unwrap_or(i32::MAX);
    let tally = Tally {
        succeeded: match is_indexed(spec) {
            true => i32::try_from(completed.len()).unwrap_or(i32::MAX),
            false => status.succeeded.unwrap_or(0) + length(&succeeded),
        },
        failed: status.failed.unwrap_or(0) + length(&failed),
        completed,
        failed_indexes,
        fatal,
    };
    if is_indexed(spec) {
        status.succeeded = Some(tally.succeeded).filter(|count| *count > 0);
        status.completed_indexes = indexes::format(&tally.completed);
        if spec.backoff_limit_per_index.is_some() {
            status.failed_indexes =
                Some(indexes::format(&tally.failed_indexes).unwrap_or_default());
        }
    }
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    status.uncounted_terminated_pods =
        Some(UncountedTerminatedPods { succeeded: some(succeeded), failed: some(failed) });
    tally
}

/// When the last container of a failed or succeeded pod ended. One that was deleted is replaced at once.
pub(super) fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.iter().flat_map(|it| it.container_statuses.iter().flatten());
    let ends =
        statuses.filter_map(|it| it.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    ends.map(|time| time.0).max().filter(|_| is_finished(pod))
}
