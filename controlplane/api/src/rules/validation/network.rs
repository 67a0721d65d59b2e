//! Services, endpoints and network policies.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::container::PROTOCOLS;
use super::{check_port, check_selector, items, metadata, require_text, text};
use crate::rules::ip::{self, CIDR};
use crate::rules::names;
use crate::rules::problems::Problems;

const SERVICE_TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(super) fn validate(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    match kind {
        "Service" => validate_service(new, old, problems),
        "EndpointSlice" => validate_slice(new, old, problems),
        "NetworkPolicy" => validate_policy(new, problems),
        "Endpoints" => {
            for (path, subset) in items(new, "subsets", "") {
                for (path, address) in items(subset, "addresses", &path) {
                    check_ip(text(address, "ip"), &format!("{path}.ip"), problems);
                }
            }
        }
        _ => {}
    }
}

fn check_ip(value: &str, path: &str, problems: &mut Problems) {
    if value.parse::<IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        problems.invalid_text(path, value, detail);
    }
}

fn validate_service(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let spec = &new["spec"];
    let kind = text(spec, "type");
    problems.check_choice("spec.type", &spec["type"], &SERVICE_TYPES);
    problems.check_choice("spec.sessionAffinity", &spec["sessionAffinity"], &["ClientIP", "None"]);
    let headless = text(spec, "clusterIP") == "None";
    if kind == "ExternalName" {
        let name = text(spec, "externalName");
        if name.is_empty() {
            problems.required("spec.externalName", "");
        } else {
            let bare = name.trim_end_matches('.');
            problems.check_text("spec.externalName", name, names::dns1123_subdomain(bare));
        }
    } else if spec["ports"].as_array().is_none_or(Vec::is_empty) && !headless {
        problems.required("spec.ports", "");
    }
    if headless && matches!(kind, "NodePort" | "LoadBalancer") {
        let detail = format!("may not be set to 'None' for {kind} services");
        problems.invalid_text("spec.clusterIPs[0]", "None", &detail);
    }
    if !headless && !text(spec, "clusterIP").is_empty() {
        check_ip(text(spec, "clusterIP"), "spec.clusterIPs[0]", problems);
    }
    check_service_ports(spec, kind, problems);
    metadata::labels(&spec["selector"], "spec.selector", problems);
    for (path, ip) in items(spec, "externalIPs", "spec") {
        check_ip(ip.as_str().unwrap_or_default(), &path, problems);
    }
    if let Some(old) = old.map(|old| &old["spec"]) {
        check_service_update(spec, old, problems);
    }
}

fn check_service_ports(spec: &Value, kind: &str, problems: &mut Problems) {
    let many = spec["ports"].as_array().is_some_and(|ports| ports.len() > 1);
    let (mut seen_names, mut seen_ports) = (BTreeSet::new(), BTreeSet::new());
    for (path, port) in items(spec, "ports", "spec") {
        let name = text(port, "name");
        if name.is_empty() && many {
            problems.required(&format!("{path}.name"), "");
        } else if !name.is_empty() {
            problems.check_text(&format!("{path}.name"), name, names::dns1123_label(name));
            if !seen_names.insert(name) {
                problems.duplicate(&format!("{path}.name"), &port["name"]);
            }
        }
        let number = json!(port["port"].as_i64().unwrap_or(0));
        check_port(&number, &format!("{path}.port"), problems);
        if port["targetPort"] != 0 {
            check_port(&port["targetPort"], &format!("{path}.targetPort"), problems);
        }
        problems.check_choice(&format!("{path}.protocol"), &port["protocol"], &PROTOCOLS);
        if !seen_ports.insert((number.as_i64(), text(port, "protocol"))) {
            let shown =
                json!({"name": "", "protocol": port["protocol"], "port": number, "targetPort": 0});
            problems.duplicate(&path, &shown);
        }
        let node = port["nodePort"].as_i64().unwrap_or(0);
        if node != 0 && !matches!(kind, "NodePort" | "LoadBalancer") {
            let detail = "may not be used when `type` is 'ClusterIP'";
            problems.forbidden(&format!("{path}.nodePort"), detail);
        }
    }
}

/// The address of a service stays while its type has one.
fn check_service_update(new: &Value, old: &Value, problems: &mut Problems) {
    let has_address =
        |spec: &Value| text(spec, "type") != "ExternalName" && !text(spec, "clusterIP").is_empty();
    if has_address(old)
        && text(new, "type") != "ExternalName"
        && new["clusterIP"] != old["clusterIP"]
    {
        let addresses =
            new.get("clusterIPs").cloned().unwrap_or_else(|| json!([text(new, "clusterIP")]));
        problems.invalid("spec.clusterIPs[0]", &addresses, "may not change once set");
    }
}

fn validate_slice(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    if text(new, "addressType").is_empty() {
        problems.required("addressType", "");
    }
    problems.check_choice("addressType", &new["addressType"], &["FQDN", "IPv4", "IPv6"]);
    if let Some(old) = old {
        problems.check_immutable("addressType", &new["addressType"], &old["addressType"]);
    }
    for (path, endpoint) in items(new, "endpoints", "") {
        let addresses = endpoint["addresses"].as_array().map_or(&[][..], Vec::as_slice);
        if addresses.is_empty() {
            problems.required(&format!("{path}.addresses"), "must contain at least 1 address");
        }
        for (index, address) in addresses.iter().enumerate() {
            if matches!(text(new, "addressType"), "IPv4" | "IPv6") {
                let at = format!("{path}.addresses[{index}]");
                check_ip(address.as_str().unwrap_or_default(), &at, problems);
            }
        }
    }
    for (path, port) in items(new, "ports", "") {
        problems.check_choice(&format!("{path}.protocol"), &port["protocol"], &PROTOCOLS);
    }
}

fn validate_policy(new: &Value, problems: &mut Problems) {
    let spec = &new["spec"];
    check_selector(&spec["podSelector"], "spec.podSelector", problems);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (path, rule) in items(spec, rules, "spec") {
            for (path, port) in items(rule, "ports", &path) {
                check_policy_port(port, &path, problems);
            }
            for (path, peer) in items(rule, peers, &path) {
                check_peer(peer, &path, problems);
            }
        }
    }
    if spec["policyTypes"].as_array().is_some_and(|kinds| kinds.len() > 2) {
        let detail = "may not specify more than two policyTypes";
        problems.invalid("spec.policyTypes", &spec["policyTypes"], detail);
        return;
    }
    for (path, kind) in items(spec, "policyTypes", "spec") {
        problems.check_choice(&path, kind, &["Egress", "Ingress"]);
    }
}

/// A port, or the ports from one number to another.
fn check_policy_port(port: &Value, path: &str, problems: &mut Problems) {
    problems.check_choice(&format!("{path}.protocol"), &port["protocol"], &PROTOCOLS);
    check_port(&port["port"], &format!("{path}.port"), problems);
    let Some(end) = port.get("endPort") else { return };
    let path = format!("{path}.endPort");
    match port["port"].as_i64() {
        Some(start) => {
            if end.as_i64().is_some_and(|end| end < start) {
                problems.invalid(&path, end, "must be greater than or equal to `port`");
            }
            check_port(end, &path, problems);
        }
        None if port["port"].is_string() => {
            problems.invalid(&path, end, "may not be specified when `port` is non-numeric");
        }
        None => problems.invalid(&path, end, "may not be specified when `port` is not specified"),
    }
}

fn check_peer(peer: &Value, path: &str, problems: &mut Problems) {
    let selectors = ["podSelector", "namespaceSelector"];
    for field in selectors {
        check_selector(&peer[field], &format!("{path}.{field}"), problems);
    }
    let selects = selectors.iter().any(|field| peer.get(*field).is_some());
    match (selects, peer.get("ipBlock")) {
        (false, None) => problems.required(path, "must specify a peer"),
        (true, Some(_)) => {
            problems.forbidden(path, "may not specify both ipBlock and another peer")
        }
        (false, Some(block)) => {
            check_block(block, &format!("{path}.ipBlock"), problems);
        }
        (true, None) => {}
    }
}

/// A range of addresses without some smaller ones in it.
fn check_block(block: &Value, path: &str, problems: &mut Problems) {
    if !require_text(block, "cidr", path, problems) {
        return;
    }
    let Some(range) = ip::parse_range(text(block, "cidr")) else {
        problems.invalid(&format!("{path}.cidr"), &block["cidr"], CIDR);
        return;
    };
    for (path, except) in items(block, "except", path) {
        match except.as_str().and_then(ip::parse_range) {
            None => problems.invalid(&path, except, CIDR),
            Some(smaller) if !ip::holds(&range, &smaller) => {
                problems.invalid(&path, except, "must be a strict subset of `cidr`");
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{defaulted, kind, problems};
    use crate::rules::validate;

    #[test]
    fn services_are_checked() {
        let service = |spec: Value| {
            defaulted("Service", json!({"metadata": {"name": "s", "namespace": "d"}, "spec": spec}))
        };
        let found = |new: &Value, old: Option<&Value>| -> Vec<String> {
            let causes = validate(&kind("Service"), new, old);
            causes.iter().map(ToString::to_string).collect()
        };
        let fine = service(json!({"ports": [{"port": 80}], "clusterIP": "10.96.0.5"}));
        assert_eq!(found(&fine, None), Vec::<String>::new());
        assert_eq!(found(&service(json!({})), None), ["spec.ports: Required value"]);
        let unnamed = service(json!({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}));
        assert_eq!(found(&unnamed, None), ["spec.ports[0].name: Required value"]);
        let moved = service(json!({"ports": [{"port": 80}], "clusterIP": "10.96.0.6"}));
        assert_eq!(
            found(&moved, Some(&fine)),
            ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set"]
        );
    }

    #[test]
    fn policies_are_checked() {
        let policy = |rule: Value| {
            let object = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"podSelector": {}, "ingress": [rule]}});
            defaulted("NetworkPolicy", object)
        };
        let block = |cidr: &str, except: &str| json!({"from": [{"ipBlock": {"cidr": cidr, "except": [except]}}]});
        for (rule, expected) in [
            (json!({"ports": [{"port": 80, "endPort": 90}, {"port": "http"}]}), ""),
            (block("10.0.0.0/8", "10.1.0.0/16"), ""),
            (
                json!({"ports": [{"port": 80, "endPort": 79}]}),
                "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
            ),
            (
                json!({"ports": [{"port": "http", "endPort": 79}, {"endPort": 80}]}),
                "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric; \
                 spec.ingress[0].ports[1].endPort: Invalid value: 80: may not be specified when `port` is not specified",
            ),
            (
                block("10.0.0.0/8", "11.0.0.0/16"),
                "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
            ),
            (block("", "10.0.0.0/8"), "spec.ingress[0].from[0].ipBlock.cidr: Required value"),
        ] {
            assert_eq!(problems("NetworkPolicy", &policy(rule), None), expected);
        }
    }
}
