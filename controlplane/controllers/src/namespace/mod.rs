//! Namespaces that are deleted: everything in them goes first (pods before all else: KEP-5080), then they do.

mod conditions;

use std::time::Duration;

use conditions::Rest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::Request,
    discovery::{ApiCapabilities, Scope, verbs},
};
use serde_json::json;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::{ignore_not_found, words},
    informers::{own_key, wakes},
};

const FINALIZER: &str = "kubernetes";
/// How soon a namespace whose objects are going is looked at again: their end has no event for it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let woken = vec![
        wakes(&informers.namespaces, |namespace| vec![own_key(namespace)]),
        wakes(&informers.pods, |pod| match pod.metadata.deletion_timestamp {
            Some(_) => {
                vec![Key { namespace: String::new(), name: pod.namespace().unwrap_or_default() }]
            }
            None => Vec::new(),
        }),
    ];
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
    let (rest, outcome) = empty(&shared, &key.name).await;
    if !rest.is_empty() {
        write_conditions(&shared, &namespace, &rest).await?;
        outcome?;
        return Ok(Some(LOOK_AGAIN));
    }
    let mut done = (*namespace).clone();
    done.spec.get_or_insert_default().finalizers =
        Some(finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect());
    finalize(&shared, &done).await?;
    Ok(None)
}

/// Deletes what is there. Returns what is left, and the last failure.
async fn empty(shared: &Shared, namespace: &str) -> (Rest, Result<(), Error>) {
    let mut rest = Rest::default();
    // What pods rest on (secrets, policies, accounts) must outlive them.
    let pods = ApiResource::erase::<Pod>(&());
    let mut outcome = empty_one(shared, namespace, &pods, &mut rest).await;
    if !rest.is_empty() {
        return (rest, outcome);
    }
    let discovery = match kube::discovery::Discovery::new(shared.client.clone()).run().await {
        Ok(discovery) => discovery,
        Err(error) => {
            rest.discovery = Some(words(&error));
            return (rest, Err(Error::api("discover what a namespace may hold")(error)));
        }
    };
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if is_deletable(&capabilities) {
                // One kind that cannot be emptied does not keep the others.
                let emptied = empty_one(shared, namespace, &resource, &mut rest).await;
                outcome = outcome.and(emptied);
            }
        }
    }
    (rest, outcome)
}

/// Deletes the objects of one kind; counts those that are still there.
async fn empty_one(
    shared: &Shared,
    namespace: &str,
    resource: &ApiResource,
    rest: &mut Rest,
) -> Result<(), Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(shared.client.clone(), namespace, resource);
    let emptied = async {
        let all = ListParams::default();
        let listed = async || -> Result<Vec<_>, kube::Error> {
            let list = ignore_not_found(api.list_metadata(&all).await)?;
            Ok(list.map(|list| list.items).unwrap_or_default())
        };
        let items = listed().await?;
        if items.iter().all(|item| item.metadata.deletion_timestamp.is_some()) {
            return Ok(items);
        }
        ignore_not_found(api.delete_collection(&DeleteParams::background(), &all).await)?;
        listed().await
    };
    match emptied.await {
        Ok(items) => {
            items.iter().for_each(|item| rest.add(resource, &item.metadata));
            Ok(())
        }
        Err(error) => {
            rest.failures.push(words(&error));
            Err(Error::api("delete a namespace's objects")(error))
        }
    }
}

async fn write_conditions(
    shared: &Shared,
    namespace: &Namespace,
    rest: &Rest,
) -> Result<(), Error> {
    let known = namespace.status.as_ref().and_then(|status| status.conditions.clone());
    let changed = rest.conditions(&known.unwrap_or_default(), Timestamp::now());
    if changed.is_empty() {
        return Ok(());
    }
    let api: Api<Namespace> = Api::all(shared.client.clone());
    let patch = Patch::Strategic(json!({"status": {"conditions": changed}}));
    let patched = api.patch_status(&namespace.name_any(), &PatchParams::default(), &patch).await;
    ignore_not_found(patched).map_err(Error::api("write a namespace's conditions"))?;
    Ok(())
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
