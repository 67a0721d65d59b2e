//! Namespaces that are deleted: everything in them goes first, then they do.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
    core::Request,
    discovery::{ApiCapabilities, Scope, verbs},
};

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::{own_key, wakes},
};

const FINALIZER: &str = "kubernetes";
/// How soon a namespace whose objects are going is looked at again: their end has no event for it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let woken = vec![wakes(&shared.informers.namespaces, |namespace| vec![own_key(namespace)])];
    let owned = shared.clone();
    drive("namespace", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let Some(namespace) = shared.informers.namespaces.get(None, &key.name) else { return Ok(None) };
    let finalizers =
        namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    if namespace.metadata.deletion_timestamp.is_none()
        || !finalizers.iter().any(|own| own == FINALIZER)
    {
        return Ok(None);
    }
    if empty(&shared, &key.name).await? > 0 {
        return Ok(Some(LOOK_AGAIN));
    }
    let mut done = (*namespace).clone();
    done.spec.get_or_insert_default().finalizers =
        Some(finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect());
    finalize(&shared, &done).await?;
    Ok(None)
}

/// Deletes what is there; returns how many objects are left.
async fn empty(shared: &Shared, namespace: &str) -> Result<usize, Error> {
    let mut left = 0;
    let discovery = kube::discovery::Discovery::new(shared.client.clone())
        .run()
        .await
        .map_err(Error::api("discover what a namespace may hold"))?;
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if !is_deletable(&capabilities) {
                continue;
            }
            let api: Api<DynamicObject> =
                Api::namespaced_with(shared.client.clone(), namespace, &resource);
            let listed = ignore_not_found(api.list_metadata(&ListParams::default()).await);
            let items =
                listed.map_err(Error::api("list a namespace's objects"))?.map(|list| list.items);
            let items = items.unwrap_or_default();
            if items.iter().any(|item| item.metadata.deletion_timestamp.is_none()) {
                let (how, which) = (DeleteParams::background(), ListParams::default());
                let deleted = api.delete_collection(&how, &which).await;
                ignore_not_found(deleted).map_err(Error::api("delete a namespace's objects"))?;
            }
            left += items.len();
        }
    }
    Ok(left)
}

fn is_deletable(capabilities: &ApiCapabilities) -> bool {
    matches!(capabilities.scope, Scope::Namespaced)
        && capabilities.supports_operation(verbs::LIST)
        && capabilities.supports_operation(verbs::DELETE_COLLECTION)
}

async fn finalize(shared: &Shared, namespace: &Namespace) -> Result<(), Error> {
    let body = serde_json::to_vec(namespace).map_err(kube::Error::SerdeError);
    let body = body.map_err(Error::api("finalize a namespace"))?;
    let request = Request::new("/api/v1/namespaces").replace_subresource(
        "finalize",
        &namespace.name_any(),
        &PostParams::default(),
        body,
    );
    let request =
        request.map_err(kube::Error::BuildRequest).map_err(Error::api("finalize a namespace"))?;
    ignore_not_found(shared.client.request::<Namespace>(request).await)
        .map_err(Error::api("finalize a namespace"))?;
    Ok(())
}
