//! Jobs: pods until enough of them have succeeded.
//!
//! A pod of a job carries a finalizer until its end is in the job's status, so that no end is lost: first the status names the
//! pod (`uncountedTerminatedPods`), then the finalizer goes, then the pod is a number (KEP-2307).

mod indexes;
mod plan;
mod pod;
mod policy;
mod tally;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use plan::Plan;
use pod::{TRACKING, pod_of};
use serde_json::json;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive, wait_until},
    error::ignore_not_found,
    informers::{is_controlled_by, owner_key, wakes},
    ownership::{claim, owner_wakes, selects},
    podset,
};

const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// Jobs that name another controller in `managedBy` are left alone.
const CONTROLLER: &str = "kubernetes.io/job-controller";

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let selector = |job: &Job| job.spec.as_ref()?.selector.clone();
    let mut woken = owner_wakes(&informers.jobs, &informers.pods, selector);
    woken.push(wakes(&informers.pods, |pod| {
        let namespace = pod.namespace().unwrap_or_default();
        let named = pod.labels().get(NAME_LABEL).filter(|_| is_tracked(pod)).cloned();
        named.map(|name| Key { namespace, name }).into_iter().collect()
    }));
    let owned = shared.clone();
    drive("job", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == TRACKING)
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let job = shared.informers.jobs.get(Some(&key.namespace), &key.name);
    free_strays(&shared, &key, job.as_deref()).await?;
    let Some(job) = job.filter(|job| job.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let Some(spec) = &job.spec else { return Ok(None) };
    if spec.managed_by.as_deref().is_some_and(|manager| manager != CONTROLLER) {
        return Ok(None);
    }
    if let Some(again) = clean_up(&shared, &job).await? {
        return Ok(again);
    }
    let selector = spec.selector.clone().unwrap_or_default();
    let pods = claim(&shared, &*job, &selector, shared.informers.pods.all()).await?;
    let plan = plan::plan(&job, &pods, Timestamp::now());
    apply(&shared, &job, &pods, &plan).await?;
    Ok(plan.again)
}

/// Pods that carry our finalizer but are no longer any living job's.
async fn free_strays(shared: &Shared, key: &Key, job: Option<&Job>) -> Result<(), Error> {
    let alive = job.filter(|job| job.metadata.deletion_timestamp.is_none());
    let is_stray = |pod: &Pod| {
        let about =
            pod.labels().get(NAME_LABEL) == Some(&key.name) || owner_key(pod, "Job").contains(key);
        let kept = alive.is_some_and(|job| {
            let uid = job.uid().unwrap_or_default();
            let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let matches = selector.is_some_and(|selector| selects(selector, pod));
            matches && (is_controlled_by(pod, &uid) || pod.owner_references().is_empty())
        });
        is_tracked(pod) && pod.namespace().as_deref() == Some(&key.namespace) && about && !kept
    };
    let strays: Vec<Arc<Pod>> =
        shared.informers.pods.all().into_iter().filter(|pod| is_stray(pod)).collect();
    untrack(shared, &strays).await
}

/// Deletes a job whose time after its end is over; says when that will be.
async fn clean_up(shared: &Shared, job: &Job) -> Result<Option<Again>, Error> {
    let Some(left) = plan::time_to_live(job, Timestamp::now()) else { return Ok(None) };
    if !left.is_zero() {
        return Ok(Some(Some(left)));
    }
    let api: Api<Job> =
        Api::namespaced(shared.client.clone(), &job.namespace().unwrap_or_default());
    ignore_not_found(api.delete(&job.name_any(), &DeleteParams::foreground()).await)
        .map_err(Error::api("delete a job after its time"))?;
    Ok(Some(None))
}

async fn apply(shared: &Shared, job: &Job, pods: &[Arc<Pod>], plan: &Plan) -> Result<(), Error> {
    if job.status.as_ref() != Some(&plan.status) {
        write(shared, job, plan).await?;
    }
    for (is_warning, reason, note) in &plan.events {
        match is_warning {
            true => shared.warning(job, reason, note),
            false => shared.normal(job, reason, note),
        }
    }
    let gone: BTreeSet<&String> = plan.untrack.iter().chain(&plan.delete).collect();
    let counted: Vec<Arc<Pod>> =
        pods.iter().filter(|pod| gone.contains(&pod.name_any())).cloned().collect();
    untrack(shared, &counted).await?;
    podset::delete(shared, job, &plan.delete).await.map_err(|failure| failure.error)?;
    let new = plan.create.iter().map(|new| pod_of(job, new, job.controller_owner_ref(&())));
    let (created, failure) = podset::create(shared, job, new.collect()).await;
    let namespace = job.namespace().unwrap_or_default();
    podset::seen(shared, &namespace, &created, &plan.delete).await?;
    failure.map_or(Ok(()), |failure| Err(failure.error))
}

/// Writes the status, and waits until the informer shows it: a pod whose finalizer is gone must not be planned with a status
/// that does not name it.
async fn write(shared: &Shared, job: &Job, plan: &Plan) -> Result<(), Error> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let api: Api<Job> = Api::namespaced(shared.client.clone(), &namespace);
    let mut changed = job.clone();
    changed.status = Some(plan.status.clone());
    let replaced = api.replace_status(&name, &PostParams::default(), &changed).await;
    let replaced = ignore_not_found(replaced).map_err(Error::api("write a job's status"))?;
    let version = |job: &Job| job.resource_version().and_then(|text| text.parse::<u64>().ok());
    let written = replaced.as_ref().and_then(version);
    wait_until(&shared.informers.jobs, |informer| {
        informer.get(Some(&namespace), &name).is_none_or(|job| version(&job) >= written)
    })
    .await
}

/// Takes the finalizer from pods.
async fn untrack(shared: &Shared, pods: &[Arc<Pod>]) -> Result<(), Error> {
    let tracked = pods.iter().filter(|pod| is_tracked(pod));
    try_join_all(tracked.map(|pod| untrack_one(shared, pod))).await?;
    Ok(())
}

async fn untrack_one(shared: &Shared, pod: &Pod) -> Result<(), Error> {
    let rest: Vec<&String> = pod.finalizers().iter().filter(|it| *it != TRACKING).collect();
    let patch = json!({"metadata": {"uid": pod.uid(), "finalizers": rest}});
    let namespace = pod.namespace().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), &namespace);
    let patched = api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    match ignore_not_found(patched) {
        Ok(_) => Ok(()),
        // Another pod of that name by now.
        Err(error) if client::is_conflict(&error) => Ok(()),
        Err(error) => Err(Error::api("take the finalizer from a pod")(error)),
    }
}
