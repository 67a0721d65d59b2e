//! ReplicaSets and ReplicationControllers: as many pods as wanted.

mod kind;
mod plan;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
pub(crate) use kind::Replicated;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::{is_controlled_by, own_key, owner_key, wakes},
    ownership::{adopters, claim},
    pods::is_active,
    podset::{self, Failure},
};

/// Runs the controller of one of the kinds until shutdown.
pub(crate) async fn run<S: Replicated>(shared: Shared) {
    let informers = &shared.informers;
    let owners = S::informer(informers).clone();
    let woken = vec![
        wakes(&owners, |set| vec![own_key(set)]),
        wakes(&informers.pods, |pod| owner_key(pod, S::KIND)),
        wakes(&informers.pods, move |pod| adopters(&owners.all(), S::selector, pod)),
    ];
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
    let status = plan::with_failure(plan.status, outcome.as_ref().err(), Timestamp::now());
    if set.status.as_ref() != Some(&status) {
        let sets: Api<S> = Api::namespaced(shared.client.clone(), &key.namespace);
        let patch = Patch::Merge(plan::patch(&status));
        ignore_not_found(sets.patch_status(&key.name, &PatchParams::default(), &patch).await)
            .map_err(Error::api("write the status of a set of pods"))?;
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
