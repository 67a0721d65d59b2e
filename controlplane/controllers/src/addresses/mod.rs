//! The addresses of Services as objects (KEP-1880): an IPAddress for each that a Service holds, and ServiceCIDRs that stay
//! while one of their addresses is in use. Upstream: `pkg/controller/servicecidrs`, `pkg/registry/core/service/ipallocator`.
//!
//! The server chooses addresses from the Services that it has; what is written here shows them, and frees nothing before
//! the Service is gone.

mod plan;

use k8s_openapi::api::{
    core::v1::Service,
    networking::v1::{IPAddress, ServiceCIDR},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::{own_key, wakes},
};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let ranges = informers.service_cidrs.clone();
    let by_service = vec![
        wakes(&informers.services, |service| vec![own_key(service)]),
        wakes(&informers.ip_addresses, |address| plan::holder(address).into_iter().collect()),
    ];
    let by_range = vec![
        wakes(&informers.service_cidrs, |range| vec![own_key(range)]),
        wakes(&informers.ip_addresses, move |_| {
            let ranges = ranges.all();
            let ending = ranges.iter().filter(|range| range.metadata.deletion_timestamp.is_some());
            ending.map(|range| own_key(&**range)).collect()
        }),
    ];
    let (first, second) = (shared.clone(), shared.clone());
    tokio::join!(
        drive("service-ip-address", &shared, by_service, move |key| show(first.clone(), key)),
        drive("service-cidr", &shared, by_range, move |key| keep(second.clone(), key)),
    );
}

/// An IPAddress for each address of a Service, and none for those that it has given back.
async fn show(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let service = informers.services.get(Some(&key.namespace), &key.name);
    let held = service.as_deref().map(held).unwrap_or_default();
    let api: Api<IPAddress> = Api::all(shared.client.clone());
    for address in &held {
        if informers.ip_addresses.get(None, address).is_none() {
            let wanted = plan::address(address, &key);
            match api.create(&PostParams::default(), &wanted).await {
                Ok(_) => {}
                Err(error) if client::is_already_exists(&error) => {}
                Err(error) => return Err(Error::api("show a service's address")(error)),
            }
        }
    }
    for address in informers.ip_addresses.all() {
        let stale = plan::holder(&address).as_ref() == Some(&key)
            && plan::is_ours(&address)
            && !held.contains(&address.name_any());
        if stale {
            let uid = address.metadata.uid.clone();
            let preconditions = Some(Preconditions { uid, resource_version: None });
            let options = DeleteParams { preconditions, ..DeleteParams::default() };
            ignore_not_found(api.delete(&address.name_any(), &options).await)
                .map_err(Error::api("free a service's address"))?;
        }
    }
    Ok(None)
}

/// The addresses of a Service; headless ones and names have none.
fn held(service: &Service) -> Vec<String> {
    let spec = service.spec.as_ref();
    let addresses = spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
    addresses.into_iter().filter(|address| !matches!(address.as_str(), "" | "None")).collect()
}

/// A range is Ready; one that is being deleted goes when none of its addresses is left without a range.
async fn keep(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let Some(range) = informers.service_cidrs.get(None, &key.name) else { return Ok(None) };
    let api: Api<ServiceCIDR> = Api::all(shared.client.clone());
    let finalizers = range.finalizers();
    let is_held = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    if range.metadata.deletion_timestamp.is_some() {
        if !is_held {
            return Ok(None);
        }
        let others = informers.service_cidrs.all();
        if plan::is_needed(&range, &others, &informers.ip_addresses.all()) {
            return write_condition(&api, &range, plan::Condition::TERMINATING).await;
        }
        let rest: Vec<&String> = finalizers.iter().filter(|name| *name != FINALIZER).collect();
        write_finalizers(&api, &range, &json!(rest)).await?;
        return Ok(None);
    }
    if !is_held {
        let all: Vec<&str> = finalizers.iter().map(String::as_str).chain([FINALIZER]).collect();
        write_finalizers(&api, &range, &json!(all)).await?;
    }
    write_condition(&api, &range, plan::Condition::READY).await
}

async fn write_finalizers(
    api: &Api<ServiceCIDR>,
    range: &ServiceCIDR,
    finalizers: &serde_json::Value,
) -> Result<(), Error> {
    // With the revision: who adds another finalizer meanwhile is not overruled.
    let patch = Patch::Merge(json!({"metadata": {
        "resourceVersion": range.metadata.resource_version, "finalizers": finalizers}}));
    ignore_not_found(api.patch(&range.name_any(), &PatchParams::default(), &patch).await)
        .map_err(Error::api("hold a range of service addresses"))?;
    Ok(())
}

async fn write_condition(
    api: &Api<ServiceCIDR>,
    range: &ServiceCIDR,
    condition: plan::Condition,
) -> Result<Again, Error> {
    let Some(patch) = condition.patch(range, jiff::Timestamp::now()) else { return Ok(None) };
    let patch = Patch::Strategic(patch);
    ignore_not_found(api.patch_status(&range.name_any(), &PatchParams::default(), &patch).await)
        .map_err(Error::api("write the condition of a range of service addresses"))?;
    Ok(None)
}
