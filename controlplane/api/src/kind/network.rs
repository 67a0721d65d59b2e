//! Kinds of networking, discovery, coordination and events.

use super::Kind;
use super::builder::{Group, group};

const NETWORKING: Group = group("networking.k8s.io", "v1", "io.k8s.api.networking.v1");
const DISCOVERY: Group = group("discovery.k8s.io", "v1", "io.k8s.api.discovery.v1");
const COORDINATION: Group = group("coordination.k8s.io", "v1", "io.k8s.api.coordination.v1");
const EVENTS: Group = group("events.k8s.io", "v1", "io.k8s.api.events.v1");
const EVENT_FIELDS: &str = "regarding.kind regarding.namespace regarding.name regarding.uid \
    regarding.apiVersion regarding.resourceVersion regarding.fieldPath reason \
    reportingController type";

pub(super) fn networking() -> Vec<Kind> {
    vec![
        NETWORKING.cluster("IngressClass", "ingressclasses"),
        NETWORKING.namespaced("Ingress", "ingresses").short("ing").status(),
        NETWORKING.cluster("IPAddress", "ipaddresses").short("ip"),
        NETWORKING.namespaced("NetworkPolicy", "networkpolicies").short("netpol"),
        NETWORKING.cluster("ServiceCIDR", "servicecidrs").status(),
    ]
}

pub(super) fn coordination_and_discovery() -> Vec<Kind> {
    vec![
        COORDINATION.namespaced("Lease", "leases"),
        DISCOVERY.namespaced("EndpointSlice", "endpointslices"),
    ]
}

pub(super) fn events() -> Vec<Kind> {
    vec![EVENTS.namespaced("Event", "events").short("ev").selects(EVENT_FIELDS)]
}
