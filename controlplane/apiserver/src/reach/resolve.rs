//! From a target to the places that serve it, by what the watch cache holds. Pure.

use std::net::{IpAddr, SocketAddr};

use access::Lookup;
use serde_json::Value;

use super::{Error, Target};

/// The agent's port where the node's status names none.
const AGENT_PORT: u16 = 10250;

/// One place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Dialed from here; the host may be a name.
    Direct { host: String, port: u16 },
    /// A port in a pod, through its node's agent.
    Pod { node: String, agent: SocketAddr, namespace: String, name: String, port: u16 },
}

/// Where a target is, best first. Never empty.
pub fn resolve(lookup: &dyn Lookup, target: &Target) -> Result<Vec<Place>, Error> {
    match target {
        Target::Host { host, port } => Ok(vec![Place::Direct { host: host.clone(), port: *port }]),
        Target::Pod { namespace, name, port } => {
            let pod = lookup.get("", "pods", namespace, name);
            let pod = pod.ok_or_else(|| Error::NoEndpoint(format!("pods {name:?} not found")))?;
            Ok(vec![pod_place(lookup, &pod, *port)?])
        }
        Target::Service { namespace, name, port } => service(lookup, namespace, name, port),
    }
}

/// Where a pod's port is: in the pod through its node's agent, or at its address when it is on the node's network.
fn pod_place(lookup: &dyn Lookup, pod: &Value, port: u16) -> Result<Place, Error> {
    let name = api::meta::name(pod);
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let on_node_network = pod["spec"]["hostNetwork"] == true;
    if !on_node_network && let Some(agent) = agent_of(lookup, node) {
        let namespace = api::meta::namespace(pod).to_owned();
        return Ok(Place::Pod { node: node.into(), agent, namespace, name: name.into(), port });
    }
    let host = pod["status"]["podIP"].as_str().unwrap_or_default();
    if host.is_empty() {
        return Err(Error::NoEndpoint("address not allowed".into()));
    }
    direct(host, port)
}

/// An address from an object: never one that means this very machine (upstream `proxy/util IsProxyableIP`).
fn direct(host: &str, port: u16) -> Result<Place, Error> {
    let refused = || Error::NoEndpoint("address not allowed".into());
    let address: IpAddr = host.parse().map_err(|_| refused())?;
    let is_local = match address {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
        }
    };
    if is_local { Err(refused()) } else { Ok(Place::Direct { host: host.into(), port }) }
}

/// Where a node's agent listens: its InternalIP and the port in its status.
#[must_use]
pub fn agent_of(lookup: &dyn Lookup, node: &str) -> Option<SocketAddr> {
    if node.is_empty() {
        return None;
    }
    let node = lookup.get("", "nodes", "", node)?;
    let addresses = node["status"]["addresses"].as_array()?;
    let address = ["InternalIP", "ExternalIP", "Hostname"].iter().find_map(|kind| {
        let address = addresses.iter().find(|address| address["type"] == *kind)?;
        address["address"].as_str()?.parse::<IpAddr>().ok()
    })?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(AGENT_PORT);
    Some(SocketAddr::new(address, port))
}

fn service(
    lookup: &dyn Lookup,
    namespace: &str,
    name: &str,
    port: &str,
) -> Result<Vec<Place>, Error> {
    let service = lookup.get("", "services", namespace, name);
    let service =
        service.ok_or_else(|| Error::NoEndpoint(format!("service {name:?} not found")))?;
    let wanted = service_port(&service["spec"], port).ok_or_else(|| {
        Error::NoEndpoint(format!("no service port {port:?} found for service {name:?}"))
    })?;
    if service["spec"]["type"] == "ExternalName" {
        let host = service["spec"]["externalName"].as_str().unwrap_or_default().to_owned();
        return Ok(vec![Place::Direct { host, port: wanted.number }]);
    }
    let mut places = Vec::new();
    for slice in lookup.list("discovery.k8s.io", "endpointslices", Some(namespace)) {
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] == name {
            add_slice(lookup, &slice, &wanted.name, &mut places);
        }
    }
    if places.is_empty() {
        return Err(Error::NoEndpoint(format!("no endpoints available for service {name:?}")));
    }
    // Spread over the endpoints; the others are tried when the first fails.
    let first = rand::random_range(0..places.len());
    places.rotate_left(first);
    Ok(places)
}

struct ServicePort {
    name: String,
    number: u16,
}

/// The port of that number or name; "" is the only or first one. ExternalName services may name any number.
fn service_port(spec: &Value, wanted: &str) -> Option<ServicePort> {
    let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    let ports = spec["ports"].as_array();
    let found = ports.into_iter().flatten().find(|port| {
        wanted.is_empty()
            || port["name"] == wanted
            || wanted.parse::<u64>().is_ok_and(|number| port["port"] == number)
    });
    if let Some(port) = found {
        let name = port["name"].as_str().unwrap_or_default().to_owned();
        return Some(ServicePort { name, number: number(&port["port"])? });
    }
    let free = spec["type"] == "ExternalName" && !wanted.is_empty();
    free.then(|| Some(ServicePort { name: String::new(), number: wanted.parse().ok()? })).flatten()
}

fn add_slice(lookup: &dyn Lookup, slice: &Value, port_name: &str, places: &mut Vec<Place>) {
    let same = |port: &&Value| port["name"].as_str().unwrap_or_default() == port_name;
    let port = slice["ports"].as_array().and_then(|ports| ports.iter().find(same));
    let port =
        port.and_then(|port| port["port"].as_u64()).and_then(|port| u16::try_from(port).ok());
    let Some(port) = port else { return };
    for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
        if endpoint["conditions"]["ready"] == false {
            continue;
        }
        let pod = &endpoint["targetRef"];
        let pod = (pod["kind"] == "Pod")
            .then(|| {
                let namespace = slice["metadata"]["namespace"].as_str()?;
                lookup.get("", "pods", namespace, pod["name"].as_str()?)
            })
            .flatten();
        let address = endpoint["addresses"][0].as_str().unwrap_or_default();
        let place = match pod {
            Some(pod) => pod_place(lookup, &pod, port),
            None => direct(address, port),
        };
        places.extend(place.ok());
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use serde_json::json;

    use super::*;

    /// Objects by `resource namespace/name`.
    struct Objects(BTreeMap<(String, String, String), Arc<Value>>);

    impl Objects {
        fn of(objects: &[(&str, Value)]) -> Self {
            let key = |resource: &str, object: &Value| {
                (
                    resource.to_owned(),
                    api::meta::namespace(object).to_owned(),
                    api::meta::name(object).to_owned(),
                )
            };
            Self(objects.iter().map(|(r, o)| (key(r, o), Arc::new(o.clone()))).collect())
        }
    }

    impl Lookup for Objects {
        fn get(&self, _: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
            self.0.get(&(resource.into(), namespace.into(), name.into())).cloned()
        }

        fn list(&self, _: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
            let is_in = |key: &(String, String, String)| {
                key.0 == resource && namespace.is_none_or(|namespace| namespace == key.1)
            };
            self.0.iter().filter(|(key, _)| is_in(key)).map(|(_, object)| object.clone()).collect()
        }
    }

    fn cluster() -> Objects {
        let slice = |name: &str, service: &str, port: u16, endpoints: Value| {
            json!({"metadata": {"namespace": "d", "name": name, "labels": {"kubernetes.io/service-name": service}},
                "ports": [{"name": "web", "port": port}], "endpoints": endpoints})
        };
        let service = |name: &str| json!({"metadata": {"namespace": "d", "name": name}, "spec": {"ports": [{"name": "web", "port": 80}]}});
        Objects::of(&[
            (
                "nodes",
                json!({"metadata": {"name": "n1"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.1.0.1"}]}}),
            ),
            (
                "pods",
                json!({"metadata": {"namespace": "d", "name": "p"}, "spec": {"nodeName": "n1"}, "status": {"podIP": "10.2.0.9"}}),
            ),
            (
                "pods",
                json!({"metadata": {"namespace": "d", "name": "host"}, "spec": {"nodeName": "n1", "hostNetwork": true}, "status": {"podIP": "10.1.0.1"}}),
            ),
            ("pods", json!({"metadata": {"namespace": "d", "name": "new"}, "spec": {}})),
            ("services", service("pods")),
            ("services", service("outside")),
            ("services", service("bad")),
            ("services", service("none")),
            (
                "services",
                json!({"metadata": {"namespace": "d", "name": "named"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}),
            ),
            (
                "endpointslices",
                slice(
                    "1",
                    "pods",
                    8080,
                    json!([
                {"addresses": ["10.2.0.8"], "conditions": {"ready": false}},
                {"addresses": ["10.2.0.9"], "targetRef": {"kind": "Pod", "name": "p"}}]),
                ),
            ),
            ("endpointslices", slice("2", "outside", 8443, json!([{"addresses": ["192.0.2.7"]}]))),
            ("endpointslices", slice("3", "bad", 22, json!([{"addresses": ["127.0.0.1"]}]))),
        ])
    }

    #[test]
    fn targets_are_found_where_they_are() {
        let service = |name: &str, port: &str| Target::Service {
            namespace: "d".into(),
            name: name.into(),
            port: port.into(),
        };
        let pod = |name: &str| Target::Pod { namespace: "d".into(), name: name.into(), port: 9 };
        let in_p = |port: u16| format!("in p:{port} by 10.1.0.1:10250");
        for (target, expect) in [
            (pod("p"), in_p(9)),
            (pod("host"), "10.1.0.1:9".into()),
            (pod("new"), "address not allowed".into()),
            (pod("gone"), "pods \"gone\" not found".into()),
            (service("pods", "80"), in_p(8080)),
            (service("pods", "web"), in_p(8080)),
            (service("pods", ""), in_p(8080)),
            (service("pods", "81"), "no service port \"81\" found for service \"pods\"".into()),
            (service("outside", "80"), "192.0.2.7:8443".into()),
            (service("bad", "80"), "no endpoints available for service \"bad\"".into()),
            (service("none", "80"), "no endpoints available for service \"none\"".into()),
            (service("gone", "80"), "service \"gone\" not found".into()),
            (service("named", "443"), "example.com:443".into()),
        ] {
            let text = match resolve(&cluster(), &target) {
                Ok(places) => match &places[0] {
                    Place::Direct { host, port } => format!("{host}:{port}"),
                    Place::Pod { agent, name, port, .. } => format!("in {name}:{port} by {agent}"),
                },
                Err(error) => error.to_string(),
            };
            assert_eq!(text, expect, "{target:?}");
        }
    }
}
