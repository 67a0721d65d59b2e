//! ReplicaSets and ReplicationControllers: as many pods as wanted.

mod kind;
mod plan;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
pub(crate) use kind::Replicated;
use kube::ResourceExt;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    informers::is_controlled_by,
    ownership::{claim, owner_wakes},
    pods::is_active,
    podset::{self, Failure},
    status,
};

/// Runs the controller of one of the kinds until shutdown.
pub(crate) async fn run<S: Replicated>(shared: Shared) {
    let informers = &shared.informers;
    let woken = owner_wakes(S::informer(informers), &informers.pods, S::selector);
    let owned = shared.clone();
    drive(S::CONTROLLER, &shared, woken, move |key| reconcile::<S>(owned.clone(), key)).await;
}

async fn reconcile<S: Replicated>(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let Some(owner) = S::informer(informers).get(Some(&key.namespace), &key.name) else {
        return Ok(None);
    };
    let Some(selector) = owner.selector() else { return Ok(None) };
    let uid = owner.uid().unwrap_or_default();
    // A finished pod is not worth adopting.
    let pods = informers.pods.all().into_iter();
    let pods = pods.filter(|pod| is_active(pod) || is_controlled_by(&**pod, &uid)).collect();
    let pods = claim(&shared, &*owner, &selector, pods).await?;
    let set = owner.view();
    let plan = plan::plan(&set, &pods, Timestamp::now());
    let outcome = manage(&shared, &*owner, &set, &plan).await;
    let new = plan::with_failure(plan.status, outcome.as_ref().err(), Timestamp::now());
    if set.status.as_ref() != Some(&new) {
        status::write(&shared, &*owner, &new, &["conditions"]).await?;
    }
    outcome.map_err(|failure| failure.error)?;
    Ok(plan.again)
}

/// Creates and deletes pods, and waits until the informer shows it.
async fn manage<S: Replicated>(
    shared: &Shared,
    owner: &S,
    set: &ReplicaSet,
    plan: &plan::Plan,
) -> Result<(), Failure> {
    let pod = plan::pod_of(set, owner.controller_owner_ref(&()));
    let (created, failure) = podset::create(shared, owner, vec![pod; plan.create]).await;
    podset::delete(shared, owner, &plan.delete).await?;
    let namespace = owner.namespace().unwrap_or_default();
    let seen = podset::seen(shared, &namespace, &created, &plan.delete).await;
    match failure {
        Some(failure) => Err(failure),
        None => seen.map_err(|error| Failure { reason: "FailedCreate", error }),
    }
}
