//! Which pods are endpoints of a Service, and how ready (KEP-752, KEP-1672; upstream `endpointslice/utils.go`).

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{
            EndpointAddress, EndpointPort as OldPort, EndpointSubset, Endpoints, ObjectReference,
            Pod, Service, ServicePort,
        },
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{Resource, ResourceExt};

use crate::pods::{is_finished, is_ready};

/// Label with the Service's name.
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Label that says who writes a slice.
pub(super) const MANAGED_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// Endpoints in one slice (upstream's default).
const SLICE_MAX: usize = 100;

/// Ports of an endpoint: name, protocol, number.
type Ports = Vec<(String, String, i32, Option<String>)>;

/// Whether a Service selects a pod.
pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty()
            && selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
    })
}

/// All slices of a Service: pods that resolve the ports alike share slices.
pub(super) fn slices(service: &Service, pods: &[Arc<Pod>], managed_by: &str) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<Ports, Vec<Endpoint>> = BTreeMap::new();
    let mut pods: Vec<&Arc<Pod>> = pods.iter().filter(|pod| !is_finished(pod)).collect();
    pods.sort_by_key(|pod| pod.name_any());
    for pod in pods {
        if let Some(endpoint) = endpoint(service, pod) {
            groups.entry(ports(service, pod)).or_default().push(endpoint);
        }
    }
    if groups.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    let pieces = groups.iter().flat_map(|(ports, endpoints)| {
        let chunks: Vec<&[Endpoint]> =
            if endpoints.is_empty() { vec![&[]] } else { endpoints.chunks(SLICE_MAX).collect() };
        chunks.into_iter().map(move |chunk| (ports, chunk))
    });
    pieces
        .enumerate()
        .map(|(index, (ports, chunk))| slice(service, managed_by, index, ports, chunk))
        .collect()
}

fn slice(
    service: &Service,
    managed_by: &str,
    index: usize,
    ports: &Ports,
    endpoints: &[Endpoint],
) -> EndpointSlice {
    let mut slice = EndpointSlice { address_type: "IPv4".into(), ..EndpointSlice::default() };
    // A name that follows from Service and index: a second writer finds the same slice.
    let uid = service.uid().unwrap_or_default();
    slice.metadata.name =
        Some(format!("{}-{}{index}", service.name_any(), &uid[..uid.len().min(5)]));
    slice.metadata.namespace = service.namespace();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.into(), service.name_any());
    labels.insert(MANAGED_LABEL.into(), managed_by.into());
    if is_headless(service) {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    slice.metadata.labels = Some(labels);
    slice.metadata.owner_references = service.controller_owner_ref(&()).map(|mut owner| {
        owner.block_owner_deletion = Some(true);
        vec![owner]
    });
    slice.endpoints = Some(endpoints.to_vec());
    slice.ports = Some(ports.iter().map(slice_port).collect());
    slice
}

fn slice_port(
    (name, protocol, number, app): &(String, String, i32, Option<String>),
) -> EndpointPort {
    EndpointPort {
        name: Some(name.clone()),
        protocol: Some(protocol.clone()),
        port: Some(*number),
        app_protocol: app.clone(),
    }
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

fn endpoint(service: &Service, pod: &Pod) -> Option<Endpoint> {
    let address = pod_ip(pod)?;
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let serving = is_ready(pod);
    let publish =
        service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let spec = pod.spec.clone().unwrap_or_default();
    let named = spec.subdomain.as_deref() == Some(&service.name_any());
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publish || serving && !terminating),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: spec.hostname.filter(|_| named),
        node_name: spec.node_name,
        target_ref: Some(reference(pod)),
        ..Endpoint::default()
    })
}

fn pod_ip(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The Service's ports as this pod has them; named ones that it lacks are left out.
fn ports(service: &Service, pod: &Pod) -> Ports {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            let number = target(port, pod, &protocol)?;
            Some((
                port.name.clone().unwrap_or_default(),
                protocol,
                number,
                port.app_protocol.clone(),
            ))
        })
        .collect()
}

fn target(port: &ServicePort, pod: &Pod, protocol: &str) -> Option<i32> {
    match port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| {
                let sidecars = spec.init_containers.iter().flatten();
                let sidecars =
                    sidecars.filter(|init| init.restart_policy.as_deref() == Some("Always"));
                spec.containers.iter().chain(sidecars)
            });
            containers.flat_map(|container| container.ports.iter().flatten()).find_map(|own| {
                let same = own.name.as_deref() == Some(name)
                    && own.protocol.as_deref().unwrap_or("TCP") == protocol;
                same.then_some(own.container_port)
            })
        }
    }
}

/// The old form: addresses by readiness, terminating pods left out.
pub(super) fn endpoints(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
    let mut groups: BTreeMap<Ports, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    let mut pods: Vec<&Arc<Pod>> = pods.iter().filter(|pod| !is_finished(pod)).collect();
    pods.sort_by_key(|pod| pod.name_any());
    for pod in pods {
        let Some(endpoint) = endpoint(service, pod) else { continue };
        let conditions = endpoint.conditions.unwrap_or_default();
        if conditions.terminating == Some(true) && conditions.ready != Some(true) {
            continue;
        }
        let address = EndpointAddress {
            ip: endpoint.addresses.into_iter().next().unwrap_or_default(),
            hostname: endpoint.hostname,
            node_name: endpoint.node_name,
            target_ref: endpoint.target_ref,
        };
        let (ready, unready) = groups.entry(ports(service, pod)).or_default();
        if conditions.ready == Some(true) { ready.push(address) } else { unready.push(address) }
    }
    let some = |addresses: Vec<EndpointAddress>| (!addresses.is_empty()).then_some(addresses);
    let subsets: Vec<EndpointSubset> = groups
        .into_iter()
        .map(|(ports, (ready, unready))| EndpointSubset {
            addresses: some(ready),
            not_ready_addresses: some(unready),
            ports: Some(ports.into_iter().map(old_port).collect()),
        })
        .collect();
    let mut endpoints = Endpoints::default();
    endpoints.metadata.name = service.metadata.name.clone();
    endpoints.metadata.namespace = service.metadata.namespace.clone();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert("endpoints.kubernetes.io/managed-by".into(), "endpoint-controller".into());
    endpoints.metadata.labels = Some(labels);
    endpoints.subsets = (!subsets.is_empty()).then_some(subsets);
    endpoints
}

fn old_port(
    (name, protocol, port, app_protocol): (String, String, i32, Option<String>),
) -> OldPort {
    OldPort {
        name: (!name.is_empty()).then_some(name),
        protocol: Some(protocol),
        port,
        app_protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "0123456789"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        }))
        .expect("a service")
    }

    fn pod(name: &str, ip: &str, ready: bool, going: bool) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        let mut value = json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": ready}]},
        });
        if going {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(value).expect("a pod"))
    }

    #[test]
    fn readiness_and_deletion_show_in_the_conditions() {
        let pods = [
            pod("a", "1.1.1.1", true, false),
            pod("b", "1.1.1.2", false, false),
            pod("c", "1.1.1.3", true, true),
            pod("d", "", true, false),
        ];
        let slices = slices(&service(), &pods, "me");
        assert_eq!(slices.len(), 1);
        let seen: Vec<_> = slices[0]
            .endpoints
            .iter()
            .flatten()
            .map(|e| {
                let c = e.conditions.clone().unwrap_or_default();
                (e.addresses[0].as_str(), c.ready, c.serving, c.terminating)
            })
            .collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(
            seen,
            [("1.1.1.1", yes, yes, no), ("1.1.1.2", no, no, no), ("1.1.1.3", no, yes, yes)]
        );
        assert_eq!(slices[0].ports.as_ref().expect("ports")[0].port, Some(8080));
        let old = endpoints(&service(), &pods).subsets.expect("one");
        assert_eq!(old[0].addresses.as_ref().map(Vec::len), Some(1));
        assert_eq!(old[0].not_ready_addresses.as_ref().map(Vec::len), Some(1));
    }

    #[test]
    fn a_service_without_pods_has_one_empty_slice() {
        let slices = slices(&service(), &[], "me");
        assert_eq!((slices.len(), slices[0].endpoints.as_ref().map(Vec::len)), (1, Some(0)));
        assert_eq!(endpoints(&service(), &[]).subsets, None);
    }
}
