//! EndpointSlices (and Endpoints, for clients that still read them) of Services with a selector.

pub(crate) mod mirror;
mod plan;

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    Error, Informers,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::{own_key, wakes},
};

/// Marks slices as ours (upstream's value, so that tools recognise them).
const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let services = informers.services.clone();
    let woken = vec![
        wakes(&informers.services, |service| vec![own_key(service)]),
        wakes(&informers.pods, move |pod| {
            let namespace = pod.namespace().unwrap_or_default();
            let selecting = services.all().into_iter().filter(|service| {
                service.namespace().as_deref() == Some(&namespace) && plan::selects(service, pod)
            });
            selecting.map(|service| own_key(&*service)).collect()
        }),
        wakes(&informers.slices, |slice| service_of(slice, MANAGED_BY)),
    ];
    let owned = shared.clone();
    drive("endpointslice", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let found = informers.services.get(Some(&key.namespace), &key.name);
    let Some(service) = found else {
        forget_endpoints(&shared, &key).await?;
        return Ok(None);
    };
    if !has_selector(&service) {
        return Ok(None);
    }
    let pods: Vec<_> = informers
        .pods
        .all()
        .into_iter()
        .filter(|pod| {
            pod.namespace().as_deref() == Some(&key.namespace) && plan::selects(&service, pod)
        })
        .collect();
    let present = slices_of(informers, &key, MANAGED_BY);
    let wanted = plan::slices(&service, &pods, MANAGED_BY);
    write_slices(&shared, &key.namespace, &wanted, &present).await?;
    write_endpoints(&shared, &service, &plan::endpoints(&service, &pods)).await?;
    Ok(None)
}

/// The Service of a slice that one of the controllers writes.
fn service_of(slice: &EndpointSlice, manager: &str) -> Vec<Key> {
    let own = slice.labels().get(plan::MANAGED_LABEL).is_some_and(|it| it == manager);
    let name = slice.labels().get(plan::SERVICE_LABEL).filter(|_| own).cloned();
    let namespace = slice.namespace().unwrap_or_default();
    name.map(|name| Key { namespace, name }).into_iter().collect()
}

/// The slices of a Service that one of the controllers writes.
fn slices_of(informers: &Informers, key: &Key, manager: &str) -> Vec<Arc<EndpointSlice>> {
    let mut slices = informers.slices.all();
    slices.retain(|slice| {
        let labels = slice.labels();
        slice.namespace().as_deref() == Some(&key.namespace)
            && labels.get(plan::SERVICE_LABEL) == Some(&key.name)
            && labels.get(plan::MANAGED_LABEL).is_some_and(|it| it == manager)
    });
    slices
}

/// A Service's Endpoints end with it, whoever wrote them; its slices have it as their owner.
async fn forget_endpoints(shared: &Shared, key: &Key) -> Result<(), Error> {
    let api: Api<Endpoints> = Api::namespaced(shared.client.clone(), &key.namespace);
    ignore_not_found(api.delete(&key.name, &DeleteParams::default()).await)
        .map_err(Error::api("delete endpoints"))?;
    Ok(())
}

fn has_selector(service: &Service) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty())
        && service.metadata.deletion_timestamp.is_none()
}

async fn write_slices(
    shared: &Shared,
    namespace: &str,
    wanted: &[EndpointSlice],
    present: &[Arc<EndpointSlice>],
) -> Result<(), Error> {
    let api: Api<EndpointSlice> = Api::namespaced(shared.client.clone(), namespace);
    for slice in wanted {
        match present.iter().find(|old| old.name_any() == slice.name_any()) {
            Some(old)
                if old.endpoints == slice.endpoints
                    && old.ports == slice.ports
                    && old.labels() == slice.labels() => {}
            Some(old) => {
                let mut slice = slice.clone();
                slice.metadata.resource_version = old.resource_version();
                api.replace(&slice.name_any(), &PostParams::default(), &slice)
                    .await
                    .map_err(Error::api("update an endpoint slice"))?;
            }
            None => match api.create(&PostParams::default(), slice).await {
                Ok(_) => {}
                Err(error) if client::is_already_exists(&error) => {}
                Err(error) => return Err(Error::api("create an endpoint slice")(error)),
            },
        }
    }
    for old in
        present.iter().filter(|old| wanted.iter().all(|slice| slice.name_any() != old.name_any()))
    {
        ignore_not_found(api.delete(&old.name_any(), &DeleteParams::default()).await)
            .map_err(Error::api("delete an endpoint slice"))?;
    }
    Ok(())
}

async fn write_endpoints(
    shared: &Shared,
    service: &Service,
    wanted: &Endpoints,
) -> Result<(), Error> {
    let namespace = service.namespace().unwrap_or_default();
    let api: Api<Endpoints> = Api::namespaced(shared.client.clone(), &namespace);
    let name = service.name_any();
    let present = api.get_opt(&name).await.map_err(Error::api("read endpoints"))?;
    match present {
        Some(present) if present.subsets == wanted.subsets => Ok(()),
        Some(_) => {
            let patch = Patch::Merge(json!({"subsets": wanted.subsets}));
            ignore_not_found(api.patch(&name, &PatchParams::default(), &patch).await)
                .map_err(Error::api("update endpoints"))?;
            Ok(())
        }
        None => match api.create(&PostParams::default(), wanted).await {
            Ok(_) => Ok(()),
            Err(error) if client::is_already_exists(&error) => Ok(()),
            Err(error) => Err(Error::api("create endpoints")(error)),
        },
    }
}
