//! ReplicaSets: as many pods as wanted.

mod plan;

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive, wait_until},
    error::ignore_not_found,
    informers::{is_controlled_by, own_key, owner_key, wakes},
    ownership::{adopters, claim},
    pods::is_active,
};

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let woken = vec![
        wakes(&informers.replica_sets, |set| vec![own_key(set)]),
        wakes(&informers.pods, |pod| owner_key(pod, "ReplicaSet")),
        wakes(&informers.pods, {
            let owners = informers.replica_sets.clone();
            move |pod| {
                adopters(
                    &owners.all(),
                    |owner: &ReplicaSet| Some(&owner.spec.as_ref()?.selector),
                    pod,
                )
            }
        }),
    ];
    let owned = shared.clone();
    drive("replicaset", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let Some(set) = informers.replica_sets.get(Some(&key.namespace), &key.name) else {
        return Ok(None);
    };
    let Some(spec) = &set.spec else { return Ok(None) };
    let uid = set.uid().unwrap_or_default();
    // A finished pod is not worth adopting.
    let pods = informers.pods.all().into_iter();
    let pods = pods.filter(|pod| is_active(pod) || is_controlled_by(&**pod, &uid)).collect();
    let pods = claim(&shared, &*set, &spec.selector, pods).await?;
    let plan = plan::plan(&set, &pods, Timestamp::now());
    apply(&shared, &set, &plan).await?;
    Ok(plan.again)
}

async fn apply(shared: &Shared, set: &ReplicaSet, plan: &plan::Plan) -> Result<(), Error> {
    let namespace = set.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), &namespace);
    let created = try_join_all((0..plan.create).map(|_| create_pod(shared, &pods, set))).await?;
    try_join_all(plan.delete.iter().map(|name| delete_pod(shared, &pods, set, name))).await?;
    let informer = &shared.informers.pods;
    wait_until(informer, |informer| {
        let there = created.iter().all(|name| informer.get(Some(&namespace), name).is_some());
        let going = plan.delete.iter().all(|name| {
            let pod = informer.get(Some(&namespace), name);
            pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
        });
        there && going
    })
    .await?;
    let Some(status) = &plan.status else { return Ok(()) };
    let sets: Api<ReplicaSet> = Api::namespaced(shared.client.clone(), &namespace);
    let patch = Patch::Merge(json!({"status": status}));
    ignore_not_found(sets.patch_status(&set.name_any(), &PatchParams::default(), &patch).await)
        .map_err(Error::api("write a replica set's status"))?;
    Ok(())
}

async fn create_pod(shared: &Shared, pods: &Api<Pod>, set: &ReplicaSet) -> Result<String, Error> {
    match pods.create(&PostParams::default(), &plan::pod_of(set)).await {
        Ok(pod) => {
            let note = format!("Created pod: {}", pod.name_any());
            shared.normal(set, "SuccessfulCreate", &note);
            Ok(pod.name_any())
        }
        Err(error) => {
            let note = format!("Error creating: {error}");
            shared.warning(set, "FailedCreate", &note);
            Err(Error::api("create a pod")(error))
        }
    }
}

async fn delete_pod(
    shared: &Shared,
    pods: &Api<Pod>,
    set: &ReplicaSet,
    name: &str,
) -> Result<(), Error> {
    let deleted = ignore_not_found(pods.delete(name, &DeleteParams::default()).await);
    if deleted.map_err(Error::api("delete a pod"))?.is_some() {
        shared.normal(set, "SuccessfulDelete", &format!("Deleted pod: {name}"));
    }
    Ok(())
}
