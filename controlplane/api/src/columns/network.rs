//! Columns of services, endpoints, ingresses, policies and addresses.

use serde_json::{Value, json};

use super::Column;
use super::cells::{
    NONE, UNSET, age, any_text, at, joined, labels, list, name, number, or, selector, text, wide,
};

/// More endpoints than these are counted, not listed.
const ENDPOINTS_SHOWN_MAX: usize = 3;

pub(super) fn columns(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "Service" => service(),
        "Endpoints" => vec![name(), text("Endpoints", |o, _| json!(endpoints(o))), age()],
        "EndpointSlice" => vec![
            name(),
            text("AddressType", |o, _| json!(at(o, "addressType"))),
            text("Ports", |o, _| json!(slice_ports(o))),
            text("Endpoints", |o, _| json!(slice_addresses(o))),
            age(),
        ],
        "Ingress" => ingress(),
        "IngressClass" => vec![
            name(),
            text("Controller", |o, _| json!(at(o, "spec.controller"))),
            text("Parameters", |o, _| json!(class_parameters(o))),
            age(),
        ],
        "NetworkPolicy" => vec![
            name(),
            text("Pod-Selector", |o, _| json!(selector(&o["spec"]["podSelector"]))),
            age(),
        ],
        "ServiceCIDR" => vec![
            name(),
            text("CIDRs", |o, _| json!(joined(list(o, "spec.cidrs").iter().map(any_text)))),
            age(),
        ],
        "IPAddress" => vec![name(), text("ParentRef", |o, _| json!(parent(o))), age()],
        _ => return None,
    })
}

fn service() -> Vec<Column> {
    vec![
        name(),
        text("Type", |o, _| json!(at(o, "spec.type"))),
        text("Cluster-IP", |o, _| json!(or(at(o, "spec.clusterIP"), NONE))),
        text("External-IP", |o, _| json!(external_ip(o))),
        text("Port(s)", |o, _| json!(ports(o))),
        age(),
        wide("Selector", |o, _| json!(labels(&o["spec"]["selector"]))),
    ]
}

fn external_ip(service: &Value) -> String {
    let given = list(service, "spec.externalIPs").iter().map(any_text);
    match at(service, "spec.type") {
        "ExternalName" => or(at(service, "spec.externalName"), NONE).to_owned(),
        "LoadBalancer" => {
            let balanced = list(service, "status.loadBalancer.ingress")
                .iter()
                .map(|one| or(at(one, "ip"), at(one, "hostname")).to_owned());
            let all: Vec<String> = balanced.chain(given).filter(|one| !one.is_empty()).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => joined(given),
    }
}

fn ports(service: &Value) -> String {
    joined(list(service, "spec.ports").iter().map(|port| {
        let node = match number(port, "nodePort") {
            0 => String::new(),
            node => format!(":{node}"),
        };
        format!("{}{node}/{}", number(port, "port"), or(at(port, "protocol"), "TCP"))
    }))
}

fn shorten(all: Vec<String>) -> String {
    if all.is_empty() {
        return NONE.to_owned();
    }
    let more = all.len().saturating_sub(ENDPOINTS_SHOWN_MAX);
    let shown = all.into_iter().take(ENDPOINTS_SHOWN_MAX).collect::<Vec<_>>().join(",");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(object, "subsets") {
        for address in list(subset, "addresses") {
            let ip = at(address, "ip");
            let ports = list(subset, "ports");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            for port in ports {
                let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
                all.push(format!("{host}:{}", number(port, "port")));
            }
        }
    }
    shorten(all)
}

fn slice_ports(slice: &Value) -> String {
    let ports = list(slice, "ports");
    if ports.is_empty() {
        return UNSET.to_owned();
    }
    shorten(
        ports
            .iter()
            .map(|port| match port.get("port").and_then(Value::as_i64) {
                Some(number) => number.to_string(),
                None => or(at(port, "name"), "*").to_owned(),
            })
            .collect(),
    )
}

fn slice_addresses(slice: &Value) -> String {
    let all: Vec<String> = list(slice, "endpoints")
        .iter()
        .flat_map(|one| list(one, "addresses").iter().map(any_text))
        .collect();
    if all.is_empty() { UNSET.to_owned() } else { shorten(all) }
}

fn ingress() -> Vec<Column> {
    vec![
        name(),
        text("Class", |o, _| json!(or(at(o, "spec.ingressClassName"), NONE))),
        text("Hosts", |o, _| json!(hosts(o))),
        text("Address", |o, _| {
            let all: Vec<&str> = list(o, "status.loadBalancer.ingress")
                .iter()
                .map(|one| or(at(one, "ip"), at(one, "hostname")))
                .collect();
            json!(all.join(","))
        }),
        text("Ports", |o, _| json!(if list(o, "spec.tls").is_empty() { "80" } else { "80, 443" })),
        age(),
    ]
}

fn hosts(ingress: &Value) -> String {
    let all: Vec<String> = list(ingress, "spec.rules")
        .iter()
        .map(|rule| at(rule, "host").to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    if all.is_empty() { "*".to_owned() } else { shorten(all) }
}

fn class_parameters(class: &Value) -> String {
    let Some(parameters) = class["spec"].get("parameters") else { return NONE.to_owned() };
    let kind = at(parameters, "kind");
    let group = at(parameters, "apiGroup");
    let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    format!("{kind}/{}", at(parameters, "name"))
}

fn parent(address: &Value) -> String {
    let parent = &address["spec"]["parentRef"];
    let parts = [at(parent, "resource"), at(parent, "namespace"), at(parent, "name")];
    let resource = match at(parent, "group") {
        "" => parts[0].to_owned(),
        group => format!("{}.{group}", parts[0]),
    };
    [resource.as_str(), parts[1], parts[2]]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_endpoints() {
        let service = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
        assert_eq!(ports(&service), "80:30080/TCP,53/UDP");
        assert_eq!(external_ip(&service), "<pending>");
        let found = json!({"subsets": [{"addresses": [{"ip": "1"}, {"ip": "2"}, {"ip": "3"}, {"ip": "4"}], "ports": [{"port": 80}]}]});
        assert_eq!(endpoints(&found), "1:80,2:80,3:80 + 1 more...");
        assert_eq!(slice_ports(&json!({})), "<unset>");
        assert_eq!(hosts(&json!({})), "*");
    }
}
