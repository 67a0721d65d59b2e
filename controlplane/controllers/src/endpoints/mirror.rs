//! EndpointSlices for Endpoints that somebody else writes, of Services without a selector (KEP-752; upstream
//! `endpointslicemirroring`).

use k8s_openapi::api::{
    core::v1::{EndpointAddress, EndpointSubset, Endpoints},
    discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
};
use kube::{Resource, ResourceExt};

use super::{
    plan::{MANAGED_LABEL, SERVICE_LABEL},
    service_of, slices_of, write_slices,
};
use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    informers::{own_key, wakes},
};

const MANAGED_BY: &str = "endpointslicemirroring-controller.k8s.io";
/// Endpoints with this label are not mirrored.
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints with this annotation are a lock, not endpoints.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses of one subset that are mirrored (upstream's default).
const SUBSET_MAX: usize = 1000;

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let woken = vec![
        wakes(&informers.endpoints, |endpoints| vec![own_key(endpoints)]),
        wakes(&informers.services, |service| vec![own_key(service)]),
        wakes(&informers.slices, |slice| service_of(slice, MANAGED_BY)),
    ];
    let owned = shared.clone();
    drive("endpointslicemirroring", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let present = slices_of(informers, &key, MANAGED_BY);
    let endpoints = informers.endpoints.get(Some(&key.namespace), &key.name);
    let service = informers.services.get(Some(&key.namespace), &key.name).filter(|service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_none_or(std::collections::BTreeMap::is_empty)
    });
    let wanted = match (endpoints, service) {
        (Some(endpoints), Some(_)) if is_mirrored(&endpoints) => mirror(&endpoints),
        _ => Vec::new(),
    };
    write_slices(&shared, &key.namespace, &wanted, &present).await?;
    Ok(None)
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    endpoints.metadata.deletion_timestamp.is_none()
        && endpoints.labels().get(SKIP_LABEL).is_none_or(|skip| skip != "true")
        && !endpoints.annotations().contains_key(LEADER)
}

/// A slice for each subset and family of addresses.
fn mirror(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        for family in ["IPv4", "IPv6"] {
            let addresses = addresses(subset, family);
            if !addresses.is_empty() {
                slices.push(slice(endpoints, slices.len(), family, subset, addresses));
            }
        }
    }
    slices
}

fn addresses(subset: &EndpointSubset, family: &str) -> Vec<Endpoint> {
    let one = |address: &EndpointAddress, ready: bool| Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    };
    let ready = subset.addresses.iter().flatten().map(|address| (address, true));
    let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
    ready
        .chain(unready)
        .filter(|(address, _)| address.ip.contains(':') == (family == "IPv6"))
        .take(SUBSET_MAX)
        .map(|(address, ready)| one(address, ready))
        .collect()
}

fn slice(
    endpoints: &Endpoints,
    index: usize,
    family: &str,
    subset: &EndpointSubset,
    addresses: Vec<Endpoint>,
) -> EndpointSlice {
    let mut slice = EndpointSlice { address_type: family.into(), ..EndpointSlice::default() };
    let uid = endpoints.uid().unwrap_or_default();
    let (start, family) = (&uid[..uid.len().min(5)], family.to_lowercase());
    slice.metadata.name = Some(format!("{}-{start}-{family}-{index}", endpoints.name_any()));
    slice.metadata.namespace = endpoints.namespace();
    let mut labels = endpoints.labels().clone();
    labels.insert(SERVICE_LABEL.into(), endpoints.name_any());
    labels.insert(MANAGED_LABEL.into(), MANAGED_BY.into());
    slice.metadata.labels = Some(labels);
    slice.metadata.owner_references = endpoints.controller_owner_ref(&()).map(|mut owner| {
        owner.block_owner_deletion = Some(true);
        vec![owner]
    });
    let ports = subset.ports.iter().flatten().map(|port| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        protocol: port.protocol.clone().or_else(|| Some("TCP".into())),
        port: Some(port.port),
        app_protocol: port.app_protocol.clone(),
    });
    slice.ports = Some(ports.collect());
    slice.endpoints = Some(addresses);
    slice
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoints(labels: serde_json::Value) -> Endpoints {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "n", "uid": "0123456789", "labels": labels},
            "subsets": [{"addresses": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}],
                "notReadyAddresses": [{"ip": "10.1.2.4"}], "ports": [{"name": "pg", "port": 5432}]}],
        }))
        .expect("endpoints")
    }

    #[test]
    fn subsets_become_slices_of_one_family() {
        let slices = mirror(&endpoints(json!({"own": "label"})));
        let seen: Vec<_> = slices
            .iter()
            .map(|slice| {
                let ready = slice.endpoints.iter().flatten().map(|endpoint| {
                    let ready = endpoint.conditions.clone().unwrap_or_default().ready;
                    (endpoint.addresses[0].clone(), ready.unwrap_or_default())
                });
                (slice.address_type.as_str(), ready.collect::<Vec<_>>())
            })
            .collect();
        let at = |address: &str, ready| (address.to_owned(), ready);
        assert_eq!(
            seen,
            [
                ("IPv4", vec![at("10.1.2.3", true), at("10.1.2.4", false)]),
                ("IPv6", vec![at("fd00::1", true)]),
            ]
        );
        assert_eq!(slices[0].labels()["own"], "label");
        assert_eq!(slices[0].labels()[SERVICE_LABEL], "db");
        assert_eq!(slices[0].ports.as_ref().expect("ports")[0].port, Some(5432));
    }

    #[test]
    fn locks_and_skipped_ones_are_left_out() {
        assert!(is_mirrored(&endpoints(json!({}))));
        assert!(!is_mirrored(&endpoints(json!({SKIP_LABEL: "true"}))));
    }
}
