//! Cluster IPs and node ports of Services: chosen when asked for, kept over updates, dropped with the type.

use std::{collections::HashSet, net::Ipv4Addr};

use access::Lookup;
use api::{Status, meta};
use ipnet::Ipv4Net;
use rand::Rng;
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use crate::{call::Call, errors};

const NETWORKING: &str = "networking.k8s.io";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

/// Held until the write is visible, so that what was chosen is not chosen twice.
pub type Reserved<'a> = Option<MutexGuard<'a, ()>>;

fn is_service(call: &Call) -> bool {
    call.kind.group.is_empty()
        && call.kind.plural == "services"
        && call.target.subresource.is_empty()
}

/// Fills in the addresses and ports of a new Service; other kinds pass.
pub async fn allocate_new<'a>(call: &'a Call, object: &mut Value) -> Result<Reserved<'a>, Status> {
    if !is_service(call) {
        return Ok(None);
    }
    let reserved = call.app.service_allocation.lock().await;
    allocate(call, object, None)?;
    Ok(Some(reserved))
}

/// The lock that an update needs before it starts.
pub async fn reserve_for_update(call: &Call) -> Reserved<'_> {
    if is_service(call) { Some(call.app.service_allocation.lock().await) } else { None }
}

/// Fills in the addresses and ports of a changed Service; other kinds pass.
pub fn allocate_updated(call: &Call, new: &mut Value, old: &Value) -> Result<(), Status> {
    if is_service(call) { allocate(call, new, Some(old)) } else { Ok(()) }
}

/// What other Services hold.
#[derive(Debug, Default)]
struct Taken {
    addresses: HashSet<Ipv4Addr>,
    /// (port, protocol)
    ports: HashSet<(u16, String)>,
}

fn kind_of(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

fn needs_address(service: &Value) -> bool {
    kind_of(service) != "ExternalName"
}

fn needs_ports(service: &Value) -> bool {
    match kind_of(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Fills in the addresses and ports of a new or updated Service.
fn allocate(call: &Call, service: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    if let Some(old) = old {
        carry_over(service, old);
    }
    let taken = taken(call, meta::namespace(service), meta::name(service));
    let ranges = ranges(call);
    if needs_address(service) {
        set_address(call, service, &ranges, &taken)?;
    } else if let Some(spec) = service["spec"].as_object_mut() {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(field);
        }
    }
    set_ports(call, service, taken)
}

/// Values the client left out of an update stay; those that the new type has no use for go.
fn carry_over(service: &mut Value, old: &Value) {
    if needs_address(service) && needs_address(old) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let missing = match &service["spec"][field] {
                Value::Null => true,
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => false,
            };
            if missing && old["spec"].get(field).is_some() {
                service["spec"][field] = old["spec"][field].clone();
            }
        }
    }
    let (keep, had) = (needs_ports(service), needs_ports(old));
    let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let same = |other: &&Value| {
            other["port"] == port["port"]
                && other["protocol"].as_str().unwrap_or("TCP")
                    == port["protocol"].as_str().unwrap_or("TCP")
        };
        let Some(before) = old_ports.iter().find(same) else { continue };
        let Some(fields) = port.as_object_mut() else { continue };
        if keep && had && fields.get("nodePort").and_then(Value::as_u64).unwrap_or(0) == 0 {
            if let Some(number) = before.get("nodePort") {
                fields.insert("nodePort".into(), number.clone());
            }
        } else if had && !keep && fields.get("nodePort") == before.get("nodePort") {
            fields.remove("nodePort");
        }
    }
}

fn taken(call: &Call, namespace: &str, name: &str) -> Taken {
    let mut taken = Taken::default();
    for service in Lookup::list(&*call.app.cache, "", "services", None) {
        if meta::namespace(&service) == namespace && meta::name(&service) == name {
            continue;
        }
        if let Some(address) = service["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse().ok())
        {
            taken.addresses.insert(address);
        }
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            if let Some(number) = port["nodePort"].as_u64() {
                taken.ports.insert((number as u16, protocol(port)));
            }
        }
        if let Some(number) = service["spec"]["healthCheckNodePort"].as_u64().filter(|n| *n > 0) {
            taken.ports.insert((number as u16, "TCP".into()));
        }
    }
    // Those that somebody keeps for other things; those of Services only show what the Services say.
    for object in Lookup::list(&*call.app.cache, NETWORKING, "ipaddresses", None) {
        if object["metadata"]["labels"][MANAGED_BY] != MANAGER {
            taken.addresses.extend(meta::name(&object).parse::<Ipv4Addr>().ok());
        }
    }
    taken
}

fn protocol(port: &Value) -> String {
    port["protocol"].as_str().unwrap_or("TCP").to_owned()
}

/// Where addresses come from: every ServiceCIDR that is ready, else (at the first start) the configured one.
fn ranges(call: &Call) -> Vec<Ipv4Net> {
    let objects = Lookup::list(&*call.app.cache, NETWORKING, "servicecidrs", None);
    let ready = objects.iter().filter(|object| {
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|one| one["type"] == "Ready");
        object["metadata"].get("deletionTimestamp").is_none()
            && ready.any(|one| one["status"] == "True")
    });
    let cidrs = ready.flat_map(|object| object["spec"]["cidrs"].as_array().into_iter().flatten());
    let ranges: Vec<Ipv4Net> = cidrs.filter_map(|cidr| cidr.as_str()?.parse().ok()).collect();
    if ranges.is_empty() { vec![call.app.config.service_cidr] } else { ranges }
}

fn set_address(
    call: &Call,
    service: &mut Value,
    ranges: &[Ipv4Net],
    taken: &Taken,
) -> Result<(), Status> {
    let spec = &service["spec"];
    let first = spec["clusterIPs"][0].as_str().filter(|ip| !ip.is_empty());
    let given = spec["clusterIP"].as_str().filter(|ip| !ip.is_empty()).or(first);
    let address = match given {
        Some("None") => "None".to_owned(),
        Some(text) => {
            check_address(text, ranges, taken)
                .map_err(|problem| refuse(call, service, "spec.clusterIPs", text, &problem))?;
            text.to_owned()
        }
        None => ranges
            .iter()
            .find_map(|range| free_address(*range, &taken.addresses))
            .ok_or_else(|| errors::internal("failed to allocate a serviceIP: range is full"))?
            .to_string(),
    };
    service["spec"]["clusterIP"] = json!(address);
    service["spec"]["clusterIPs"] = json!([address]);
    for (field, value) in
        [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))]
    {
        if service["spec"]
            .get(field)
            .is_none_or(|present| present.is_null() || *present == json!([]))
        {
            service["spec"][field] = value;
        }
    }
    if service["spec"]["ipFamilyPolicy"] == "PreferDualStack" {
        service["spec"]["ipFamilies"] = json!(["IPv4"]);
    }
    Ok(())
}

fn check_address(text: &str, ranges: &[Ipv4Net], taken: &Taken) -> Result<(), String> {
    let Ok(address) = text.parse::<Ipv4Addr>() else {
        return Err("must be a valid IP address".into());
    };
    if !ranges.iter().any(|range| range.contains(&address)) {
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        return Err(format!(
            "failed to allocate IP {text}: the provided IP ({text}) is not in the valid range. The range of valid IPs is {}",
            ranges.join(",")
        ));
    }
    if taken.addresses.contains(&address) {
        return Err(format!("failed to allocate IP {text}: provided IP is already allocated"));
    }
    Ok(())
}

fn refuse(call: &Call, service: &Value, field: &str, value: &str, problem: &str) -> Status {
    let message = format!("Invalid value: {:?}: {problem}", [value]);
    errors::invalid(&call.kind, meta::name(service), field, "FieldValueInvalid", &message)
}

/// A free address from the range's upper part, where people rarely choose one by hand; else from the whole.
fn free_address(range: Ipv4Net, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let first = u32::from(range.network()) + 1;
    let count = (u32::from(range.broadcast()) - first).max(1);
    let low = (count / 16).min(256);
    let start = rand::rng().random_range(low..count);
    (0..count)
        .map(|step| Ipv4Addr::from(first + (start + step) % count))
        .find(|address| !taken.contains(address) && u32::from(*address) - first >= low)
        .or_else(|| (0..low).map(|n| Ipv4Addr::from(first + n)).find(|a| !taken.contains(a)))
}

fn set_ports(call: &Call, service: &mut Value, mut taken: Taken) -> Result<(), Status> {
    let (low, high) = call.app.config.node_ports;
    let wanted = needs_ports(service);
    let mut ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for (index, port) in ports.iter_mut().enumerate() {
        let given = port["nodePort"].as_u64().unwrap_or(0) as u16;
        let protocol = protocol(port);
        if given > 0 {
            let field = format!("spec.ports[{index}].nodePort");
            let problem = if !(low..=high).contains(&given) {
                format!(
                    "Invalid value: {given}: provided port is not in the valid range. The range of valid ports is {low}-{high}"
                )
            } else if !taken.ports.insert((given, protocol)) {
                format!("Invalid value: {given}: provided port is already allocated")
            } else {
                continue;
            };
            return Err(errors::invalid(
                &call.kind,
                meta::name(service),
                &field,
                "FieldValueInvalid",
                &problem,
            ));
        }
        if wanted {
            let number = free_port(&taken, (low, high), &protocol)
                .ok_or_else(|| errors::internal("failed to allocate a nodePort: range is full"))?;
            taken.ports.insert((number, protocol));
            port["nodePort"] = json!(number);
        }
    }
    if !ports.is_empty() {
        service["spec"]["ports"] = Value::Array(ports);
    }
    set_health_port(call, service, &taken)
}

fn set_health_port(call: &Call, service: &mut Value, taken: &Taken) -> Result<(), Status> {
    let local = service["spec"]["externalTrafficPolicy"] == "Local";
    let wanted = kind_of(service) == "LoadBalancer" && local;
    let given = service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
    if wanted && given == 0 {
        let number = free_port(taken, call.app.config.node_ports, "TCP")
            .ok_or_else(|| errors::internal("failed to allocate a nodePort: range is full"))?;
        service["spec"]["healthCheckNodePort"] = json!(number);
    } else if !wanted && let Some(spec) = service["spec"].as_object_mut() {
        spec.remove("healthCheckNodePort");
    }
    Ok(())
}

fn free_port(taken: &Taken, (low, high): (u16, u16), protocol: &str) -> Option<u16> {
    let count = high - low + 1;
    let start = rand::rng().random_range(0..count);
    (0..count)
        .map(|step| low + (start + step) % count)
        .find(|port| !taken.ports.contains(&(*port, protocol.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_range_is_found_before_it_is_full() {
        let range: Ipv4Net = "10.0.0.0/28".parse().unwrap();
        let mut taken = HashSet::new();
        while let Some(address) = free_address(range, &taken) {
            assert!(range.contains(&address) && taken.insert(address));
        }
        assert_eq!(taken.len(), 14);
    }

    #[test]
    fn an_update_keeps_what_it_leaves_out() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 80, "nodePort": 30001}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        carry_over(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.96.0.9");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
        let mut new =
            json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30001}]}});
        carry_over(&mut new, &old);
        assert!(new["spec"]["ports"][0].get("nodePort").is_none());
    }
}
