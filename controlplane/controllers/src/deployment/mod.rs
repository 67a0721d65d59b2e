//! Deployments: ReplicaSets, one per pod template, rolled from the old to the new.

mod history;
mod plan;
mod status;

pub(crate) use history::hash as template_hash;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy},
};
use plan::Step;
use serde_json::json;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive, wait_until},
    error::ignore_not_found,
    informers::is_controlled_by,
    ownership::{claim, owner_wakes},
    pods::is_active,
};

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let selector = |it: &Deployment| it.spec.as_ref().map(|spec| spec.selector.clone());
    let woken = owner_wakes(&informers.deployments, &informers.replica_sets, selector);
    let owned = shared.clone();
    drive("deployment", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let found = informers.deployments.get(Some(&key.namespace), &key.name);
    let Some(deployment) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let Some(spec) = &deployment.spec else { return Ok(None) };
    let sets = claim(&shared, &*deployment, &spec.selector, informers.replica_sets.all()).await?;
    let old_pods_run = sets.iter().filter(|set| !plan::is_current(&deployment, set)).any(|set| {
        let uid = set.uid().unwrap_or_default();
        informers.pods.all().iter().any(|pod| is_active(pod) && is_controlled_by(&**pod, &uid))
    });
    let plan = plan::plan(&deployment, &sets, old_pods_run, Timestamp::now());
    for step in &plan.steps {
        apply(&shared, &deployment, step).await?;
    }
    write_status(&shared, &deployment, &plan).await?;
    Ok(plan.again)
}

async fn apply(shared: &Shared, deployment: &Deployment, step: &Step) -> Result<(), Error> {
    let namespace = deployment.namespace().unwrap_or_default();
    let sets: Api<ReplicaSet> = Api::namespaced(shared.client.clone(), &namespace);
    match step {
        Step::Create(set) => create(shared, deployment, &sets, set).await,
        Step::Scale { name, from, to } => {
            let patch = json!({"spec": {"replicas": to}});
            let patched = patch_set(&sets, name, &patch).await?;
            see(shared, &namespace, name, patched).await?;
            let way = if to > from { "up" } else { "down" };
            let note = format!("Scaled {way} replica set {name} from {from} to {to}");
            shared.normal(deployment, "ScalingReplicaSet", &note);
            Ok(())
        }
        Step::Annotate { name, annotations } => {
            let patch = json!({"metadata": {"annotations": annotations}});
            let patched = patch_set(&sets, name, &patch).await?;
            see(shared, &namespace, name, patched).await
        }
        Step::Delete(name) => {
            let parameters = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Background),
                ..DeleteParams::default()
            };
            ignore_not_found(sets.delete(name, &parameters).await)
                .map_err(Error::api("delete an old replica set"))?;
            Ok(())
        }
    }
}

async fn create(
    shared: &Shared,
    deployment: &Deployment,
    sets: &Api<ReplicaSet>,
    set: &ReplicaSet,
) -> Result<(), Error> {
    let (namespace, name) = (set.namespace().unwrap_or_default(), set.name_any());
    match sets.create(&PostParams::default(), set).await {
        Ok(_) => {}
        // Made by an earlier try whose answer was lost; a foreign set of that name is a collision.
        Err(error) if client::is_already_exists(&error) => {
            let present = sets.get(&name).await.map_err(Error::api("read a replica set"))?;
            if !is_controlled_by(&present, &deployment.uid().unwrap_or_default()) {
                return raise_collisions(shared, deployment).await;
            }
        }
        Err(error) => return Err(Error::api("create a replica set")(error)),
    }
    wait_until(&shared.informers.replica_sets, |informer| {
        informer.get(Some(&namespace), &name).is_some()
    })
    .await?;
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let note = format!("Scaled up replica set {name} from 0 to {replicas}");
    shared.normal(deployment, "ScalingReplicaSet", &note);
    Ok(())
}

/// The next hash of this template will be another one.
async fn raise_collisions(shared: &Shared, deployment: &Deployment) -> Result<(), Error> {
    let count = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    crate::status::write(shared, deployment, &json!({"collisionCount": count + 1}), &[]).await
}

async fn patch_set(
    sets: &Api<ReplicaSet>,
    name: &str,
    patch: &serde_json::Value,
) -> Result<Option<ReplicaSet>, Error> {
    ignore_not_found(sets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await)
        .map_err(Error::api("change a replica set"))
}

/// Waits for the informer to show the patched set.
async fn see(
    shared: &Shared,
    namespace: &str,
    name: &str,
    patched: Option<ReplicaSet>,
) -> Result<(), Error> {
    let Some(patched) = patched else { return Ok(()) };
    let (replicas, version) =
        (patched.spec.as_ref().and_then(|spec| spec.replicas), patched.resource_version());
    wait_until(&shared.informers.replica_sets, |informer| {
        let seen = informer.get(Some(namespace), name);
        seen.is_none_or(|set| {
            set.resource_version() == version
                || set.spec.as_ref().and_then(|spec| spec.replicas) == replicas
                    && set.annotations() == patched.annotations()
        })
    })
    .await
}

async fn write_status(
    shared: &Shared,
    deployment: &Deployment,
    plan: &plan::Plan,
) -> Result<(), Error> {
    if let Some(revision) = &plan.revision {
        let namespace = deployment.namespace().unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(shared.client.clone(), &namespace);
        let patch = json!({"metadata": {"annotations": {history::REVISION: revision}}});
        let patched =
            api.patch(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        ignore_not_found(patched).map_err(Error::api("annotate a deployment"))?;
    }
    match &plan.status {
        Some(status) => {
            crate::status::write(shared, deployment, status, &status::OPTIONAL_COUNTS).await
        }
        None => Ok(()),
    }
}
