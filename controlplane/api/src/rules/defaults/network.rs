//! Defaults of services and the networking and discovery groups.

use serde_json::{Value, json};

use super::{default, default_text, items, section, text};

const SESSION_SECONDS: i64 = 10_800;

pub(super) fn apply(kind: &str, object: &mut Value) {
    match kind {
        "NetworkPolicy" => apply_policy(object),
        "EndpointSlice" => {
            for port in items(object, "ports") {
                default(port, "name", json!(""));
                default_text(port, "protocol", "TCP");
            }
        }
        "IngressClass" => {
            if let Some(parameters) = object.pointer_mut("/spec/parameters") {
                default_text(parameters, "scope", "Cluster");
            }
        }
        _ => {}
    }
}

fn apply_policy(object: &mut Value) {
    let spec = section(object, "spec");
    for rules in ["ingress", "egress"] {
        for rule in items(spec, rules) {
            items(rule, "ports").for_each(|port| default_text(port, "protocol", "TCP"));
        }
    }
    let types = if spec["egress"].as_array().is_some_and(|rules| !rules.is_empty()) {
        json!(["Ingress", "Egress"])
    } else {
        json!(["Ingress"])
    };
    default(spec, "policyTypes", types);
}

pub(super) fn apply_service(object: &mut Value) {
    let spec = section(object, "spec");
    default_text(spec, "type", "ClusterIP");
    default_text(spec, "sessionAffinity", "None");
    if text(spec, "sessionAffinity") == "ClientIP" {
        let config = section(section(spec, "sessionAffinityConfig"), "clientIP");
        default(config, "timeoutSeconds", json!(SESSION_SECONDS));
    }
    for port in items(spec, "ports") {
        default_text(port, "protocol", "TCP");
        let number = port["port"].clone();
        let target = port.get("targetPort");
        if target.is_none_or(|target| *target == 0 || *target == "") {
            port["targetPort"] = number;
        }
    }
    let kind = text(spec, "type").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    default_ip_modes(&kind, object);
    let spec = section(object, "spec");
    if kind != "ExternalName" {
        default_text(spec, "internalTrafficPolicy", "Cluster");
        default(spec, "ipFamilies", json!(["IPv4"]));
        default_text(spec, "ipFamilyPolicy", "SingleStack");
        mirror_cluster_ip(spec);
    }
}

/// An address of a load balancer without a mode is a virtual one.
fn default_ip_modes(kind: &str, object: &mut Value) {
    let Some(balancer) = object.pointer_mut("/status/loadBalancer") else { return };
    if kind != "LoadBalancer" {
        return;
    }
    for address in items(balancer, "ingress") {
        if !text(address, "ip").is_empty() {
            default(address, "ipMode", json!("VIP"));
        }
    }
}

/// `clusterIP` and `clusterIPs[0]` are one value.
fn mirror_cluster_ip(spec: &mut Value) {
    let first = spec["clusterIPs"][0].as_str().unwrap_or_default().to_owned();
    let single = text(spec, "clusterIP").to_owned();
    match (single.is_empty(), first.is_empty()) {
        (false, true) => spec["clusterIPs"] = json!([single]),
        (true, false) => spec["clusterIP"] = json!(first),
        _ => {}
    }
}

pub(super) fn apply_endpoints(object: &mut Value) {
    for subset in items(object, "subsets") {
        items(subset, "ports").for_each(|port| default_text(port, "protocol", "TCP"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::rules::tests::defaulted;

    #[test]
    fn services_get_their_defaults() {
        let service =
            defaulted("Service", json!({"spec": {"ports": [{"port": 80}], "clusterIP": "None"}}));
        assert_eq!(
            service["spec"],
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "clusterIP": "None", "clusterIPs": ["None"],
                "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]})
        );
        let policy =
            defaulted("NetworkPolicy", json!({"spec": {"egress": [{"ports": [{"port": 53}]}]}}));
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
    }
}
