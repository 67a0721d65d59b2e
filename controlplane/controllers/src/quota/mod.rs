//! ResourceQuota: counts again what quotas cover when something that counts has gone, and at the start. What is
//! added is counted by the API server's admission in the transaction that adds it.

mod plan;
mod watched;

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
};
use serde_json::Value;

use client::{Change, Informer};

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::own_key,
};
use watched::Watched;

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let (watched, gone) = Watched::new(&shared);
    let quotas = shared.informers.quotas.clone();
    let in_namespace = move |namespace: &str| keys_in(&quotas, namespace);
    let woken = vec![
        quota_wakes(&shared.informers.quotas),
        pod_wakes(&shared),
        gone.map(move |namespace| futures::stream::iter(in_namespace(&namespace)))
            .flatten()
            .boxed(),
    ];
    let (owned, watched) = (shared.clone(), Arc::new(watched));
    drive("quota", &shared, woken, move |key| reconcile(owned.clone(), Arc::clone(&watched), key))
        .await;
}

fn keys_in(quotas: &Informer<ResourceQuota>, namespace: &str) -> Vec<Key> {
    let all = quotas.all();
    let own = all.iter().filter(|quota| quota.namespace().as_deref() == Some(namespace));
    own.map(|quota| own_key(&**quota)).collect()
}

/// Every quota once, then those whose status does not tell what their spec asks.
fn quota_wakes(quotas: &Informer<ResourceQuota>) -> BoxStream<'static, Key> {
    let (changes, first) = (quotas.changes(), quotas.clone());
    let known = quotas.clone();
    let start = async move {
        // The informer lives as long as this controller.
        let _ = first.ready().await;
        futures::stream::iter(first.all().into_iter().map(|quota| own_key(&*quota)))
    };
    let later = changes
        .map(move |change| {
            futures::stream::iter(match change {
                Change::Applied(quota) if plan::is_current(&quota) => Vec::new(),
                Change::Applied(quota) => vec![own_key(&*quota)],
                Change::Deleted(_) => Vec::new(),
                Change::Resynced => known.all().iter().map(|quota| own_key(&**quota)).collect(),
            })
        })
        .flatten();
    futures::stream::select(futures::stream::once(start).flatten(), later).boxed()
}

/// The quotas of a namespace in which a pod has ended or gone.
fn pod_wakes(shared: &Shared) -> BoxStream<'static, Key> {
    let (pods, quotas) = (shared.informers.pods.changes(), shared.informers.quotas.clone());
    let of = move |pod: &Pod| keys_in(&quotas, &pod.namespace().unwrap_or_default());
    pods.map(move |change| {
        futures::stream::iter(match change {
            Change::Applied(pod) if plan::has_ended(&pod) => of(&pod),
            Change::Deleted(pod) => of(&pod),
            // Lost changes of pods are made up for at the next one.
            Change::Applied(_) | Change::Resynced => Vec::new(),
        })
    })
    .flatten()
    .boxed()
}

async fn reconcile(shared: Shared, watched: Arc<Watched>, key: Key) -> Result<Again, Error> {
    let kind = ApiResource::erase::<ResourceQuota>(&());
    let quotas: Api<DynamicObject> =
        Api::namespaced_with(shared.client.clone(), &key.namespace, &kind);
    // The quota is read first: whatever is charged to it after this makes the write below fail.
    let quota =
        ignore_not_found(quotas.get(&key.name).await).map_err(Error::api("read a quota"))?;
    let Some(mut quota) = quota else { return Ok(None) };
    let tree = tree_of(&quota);
    let mut counted = Vec::new();
    for resource in api::quota::counted_resources(&tree) {
        let Some(kind) = watched.resource(&resource).await? else { continue };
        counted.push((resource, list(&shared, &key.namespace, &kind).await?));
    }
    let now = jiff::Timestamp::now().as_second();
    let Some(status) = plan::status(&tree, &counted, now) else { return Ok(None) };
    quota.data["status"] = status;
    let written = quotas.replace_status(&key.name, &PostParams::default(), &quota).await;
    ignore_not_found(written).map_err(Error::api("write a quota's status"))?;
    Ok(None)
}

fn tree_of(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object read as JSON is JSON")
}

async fn list(shared: &Shared, namespace: &str, kind: &ApiResource) -> Result<Vec<Value>, Error> {
    let objects: Api<DynamicObject> = Api::namespaced_with(shared.client.clone(), namespace, kind);
    let listed = ignore_not_found(objects.list(&ListParams::default()).await);
    let listed = listed.map_err(Error::api("list what a quota counts"))?;
    Ok(listed.into_iter().flat_map(|list| list.items).map(|object| tree_of(&object)).collect())
}
