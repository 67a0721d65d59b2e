//! Which rules the services need on this node. Pure: services and slices in, rules out.
//! Everything that reaches a rule is a parsed number, address or a hash, never a string of the API.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use sha2::{Digest, Sha256};

use crate::ruleset::{MASQUERADE_MARK, Map, Ruleset};
use crate::{Config, Ipv4Net};

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// `sessionAffinityConfig.clientIP.timeoutSeconds` when unset (core/v1).
const AFFINITY_SECONDS_DEFAULT: i32 = 10_800;
/// Services with this label are left to another proxy (KEP-2447).
const OTHER_PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// One usable place of a service's port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    address: Ipv4Addr,
    port: u16,
    local: bool,
}

/// One port of one service, ready to be written down.
struct Port<'a> {
    hash: String,
    protocol: &'static str,
    port: u16,
    node_port: Option<u16>,
    spec: &'a ServiceSpec,
    all: Vec<Target>,
    config: &'a Config,
}

/// The rules for all services.
pub fn plan(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>], config: &Config) -> Ruleset {
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let name = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), name) {
            by_service.entry((namespace, name)).or_default().push(slice);
        }
    }
    let mut ruleset = Ruleset::default();
    for service in services {
        plan_service(service, &by_service, config, &mut ruleset);
    }
    ruleset
}

fn plan_service(
    service: &Service,
    by_service: &BTreeMap<(&str, &str), Vec<&EndpointSlice>>,
    config: &Config,
    ruleset: &mut Ruleset,
) {
    let metadata = &service.metadata;
    let (Some(namespace), Some(name), Some(spec)) =
        (metadata.namespace.as_deref(), metadata.name.as_deref(), service.spec.as_ref())
    else {
        return;
    };
    let elsewhere =
        metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(OTHER_PROXY_LABEL));
    let cluster_ips = cluster_ips(spec);
    if elsewhere || spec.type_.as_deref() == Some("ExternalName") || cluster_ips.is_empty() {
        return;
    }
    let slices = by_service.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
    for service_port in spec.ports.iter().flatten() {
        let Some(protocol) = protocol(service_port.protocol.as_deref()) else { continue };
        let Ok(number) = u16::try_from(service_port.port) else { continue };
        let identity = format!("{namespace}/{name}/{number}/{protocol}");
        let port = Port {
            hash: hash(&identity),
            protocol,
            port: number,
            node_port: service_port
                .node_port
                .and_then(|port| port.try_into().ok())
                .filter(|port| *port != 0),
            spec,
            all: targets(slices, service_port, protocol, &config.node_name),
            config,
        };
        port.write(&cluster_ips, &load_balancer_ips(service), ruleset);
    }
}

impl Port<'_> {
    fn write(&self, cluster_ips: &[Ipv4Addr], balancer_ips: &[Ipv4Addr], ruleset: &mut Ruleset) {
        let external_ips = addresses(self.spec.external_ips.as_deref().unwrap_or_default());
        if self.all.is_empty() {
            return self.refuse([cluster_ips, &external_ips, balancer_ips].concat(), ruleset);
        }
        let hash = &self.hash;
        let local_only = |policy: &Option<String>| policy.as_deref() == Some("Local");
        let external_local = local_only(&self.spec.external_traffic_policy);
        let internal_local = local_only(&self.spec.internal_traffic_policy);
        let cluster_cidr = self.config.cluster_cidr;
        // Who is no pod (the node itself, or routed through it) has no way back past this node.
        let outsiders = format!("ip saddr != {cluster_cidr} {}", masquerade());
        self.write_balancer(&format!("svc-{hash}"), vec![outsiders], &self.all, ruleset);
        let local: Vec<Target> = self.all.iter().filter(|target| target.local).cloned().collect();
        if external_local || internal_local {
            self.write_balancer(&format!("loc-{hash}"), Vec::new(), &local, ruleset);
        }
        let inside = if internal_local { "loc" } else { "svc" };
        for address in cluster_ips {
            self.map(Map::ClusterIps, Some(*address), &format!("goto {inside}-{hash}"), ruleset);
        }
        let reachable = [&external_ips[..], balancer_ips].concat();
        if self.node_port.is_none() && reachable.is_empty() {
            return;
        }
        ruleset.chains.insert(format!("ext-{hash}"), self.external_rules(external_local));
        if let Some(node_port) = self.node_port {
            let key = format!("{} . {node_port}", self.protocol);
            ruleset.elements.insert((Map::NodePorts, key), format!("goto ext-{hash}"));
        }
        for address in &external_ips {
            self.map(Map::ExternalIps, Some(*address), &format!("goto ext-{hash}"), ruleset);
        }
        let gate = self.write_source_gate(ruleset).unwrap_or_else(|| format!("ext-{hash}"));
        for address in balancer_ips {
            self.map(Map::ExternalIps, Some(*address), &format!("goto {gate}"), ruleset);
        }
    }

    /// Rules for traffic to node ports, external and load-balancer addresses.
    fn external_rules(&self, local_only: bool) -> Vec<String> {
        let hash = &self.hash;
        if !local_only {
            return vec![masquerade(), format!("goto svc-{hash}")];
        }
        vec![
            // Pods and the node itself may use all endpoints: the policy keeps sources from outside.
            format!("ip saddr {} goto svc-{hash}", self.config.cluster_cidr),
            format!("fib saddr type local goto svc-{hash}"),
            format!("goto loc-{hash}"),
        ]
    }

    /// A chain that lets only `loadBalancerSourceRanges` pass, when there are any.
    fn write_source_gate(&self, ruleset: &mut Ruleset) -> Option<String> {
        let ranges = self.spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
        let ranges: BTreeSet<Ipv4Net> =
            ranges.iter().filter_map(|range| range.trim().parse().ok()).collect();
        if ranges.is_empty() {
            return None;
        }
        let mut rules: Vec<String> = ranges
            .iter()
            .map(|range| format!("ip saddr {} goto ext-{}", range.trunc(), self.hash))
            .collect();
        rules.push("drop".to_owned());
        let name = format!("lb-{}", self.hash);
        ruleset.chains.insert(name.clone(), rules);
        Some(name)
    }

    /// A chain that picks one of `targets`, the same for a client when the service has affinity.
    fn write_balancer(
        &self,
        name: &str,
        mut rules: Vec<String>,
        targets: &[Target],
        ruleset: &mut Ruleset,
    ) {
        let affinity = affinity_seconds(self.spec);
        let chains: Vec<String> =
            targets.iter().map(|target| self.write_target(target, affinity, ruleset)).collect();
        if let Some(seconds) = affinity {
            let remembered = chains
                .iter()
                .map(|chain| format!("ip saddr @{} goto {chain}", affinity_set(chain, seconds)));
            rules.extend(remembered);
        }
        match chains.as_slice() {
            [] => rules.push("drop".to_owned()),
            [only] => rules.push(format!("goto {only}")),
            many => {
                let picks: Vec<String> = many
                    .iter()
                    .enumerate()
                    .map(|(number, chain)| format!("{number} : goto {chain}"))
                    .collect();
                let picks = picks.join(", ");
                rules.push(format!("numgen random mod {} vmap {{ {picks} }}", many.len()));
            }
        }
        ruleset.chains.insert(name.to_owned(), rules);
    }

    /// The chain of one endpoint of this port. Returns its name.
    fn write_target(
        &self,
        target: &Target,
        affinity: Option<u32>,
        ruleset: &mut Ruleset,
    ) -> String {
        let Target { address, port, .. } = target;
        let name = format!("ep-{}", hash(&format!("{}/{address}/{port}", self.hash)));
        // A pod that reaches itself through the service must see the gateway, not itself.
        let mut rules = vec![format!("ip saddr {address} {}", masquerade())];
        if let Some(seconds) = affinity {
            let set = affinity_set(&name, seconds);
            rules.push(format!("update @{set} {{ ip saddr }}"));
            ruleset.sets.insert(set, seconds);
        }
        rules.push(format!("meta l4proto {} dnat to {address}:{port}", self.protocol));
        ruleset.chains.insert(name.clone(), rules);
        name
    }

    fn refuse(&self, addresses: Vec<Ipv4Addr>, ruleset: &mut Ruleset) {
        ruleset.chains.insert("reject-all".to_owned(), vec!["reject".to_owned()]);
        for address in addresses {
            self.map(Map::Refused, Some(address), "goto reject-all", ruleset);
        }
        if let Some(node_port) = self.node_port {
            let key = format!("{} . {node_port}", self.protocol);
            ruleset.elements.insert((Map::RefusedPorts, key), "goto reject-all".to_owned());
        }
    }

    fn map(&self, map: Map, address: Option<Ipv4Addr>, verdict: &str, ruleset: &mut Ruleset) {
        if let Some(address) = address {
            let key = format!("{address} . {} . {}", self.protocol, self.port);
            ruleset.elements.insert((map, key), verdict.to_owned());
        }
    }
}

fn masquerade() -> String {
    format!("meta mark set meta mark | {MASQUERADE_MARK}")
}

fn affinity_seconds(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref();
    let client_ip = config.and_then(|config| config.client_ip.as_ref());
    let seconds = client_ip.and_then(|client_ip| client_ip.timeout_seconds);
    u32::try_from(seconds.unwrap_or(AFFINITY_SECONDS_DEFAULT)).ok().filter(|seconds| *seconds > 0)
}

fn affinity_set(chain: &str, seconds: u32) -> String {
    format!("aff-{}-{seconds}", chain.trim_start_matches("ep-"))
}

/// Usable endpoints: the ready ones, else those that still serve while they end (KEP-1669).
fn targets(
    slices: &[&EndpointSlice],
    service_port: &ServicePort,
    protocol: &str,
    node_name: &str,
) -> Vec<Target> {
    let mut ready = BTreeSet::new();
    let mut ending = BTreeSet::new();
    for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
        let wanted = service_port.name.as_deref().unwrap_or_default();
        let port = slice.ports.iter().flatten().find(|port| {
            port.name.as_deref().unwrap_or_default() == wanted
                && self::protocol(port.protocol.as_deref()) == Some(protocol)
        });
        let Some(port) = port.and_then(|port| u16::try_from(port.port?).ok()) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(address) = endpoint.addresses.first().and_then(|text| text.parse().ok())
            else {
                continue;
            };
            let local = endpoint.node_name.as_deref() == Some(node_name);
            let target = Target { address, port, local };
            match readiness(endpoint) {
                Readiness::Ready => ready.insert(target),
                Readiness::Ending => ending.insert(target),
                Readiness::Not => false,
            };
        }
    }
    let chosen = if ready.is_empty() { ending } else { ready };
    chosen.into_iter().collect()
}

enum Readiness {
    Ready,
    Ending,
    Not,
}

fn readiness(endpoint: &Endpoint) -> Readiness {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    match (ready, serving && terminating) {
        (true, _) => Readiness::Ready,
        (false, true) => Readiness::Ending,
        (false, false) => Readiness::Not,
    }
}

fn protocol(name: Option<&str>) -> Option<&'static str> {
    match name.unwrap_or("TCP") {
        "TCP" => Some("tcp"),
        "UDP" => Some("udp"),
        "SCTP" => Some("sctp"),
        _ => None,
    }
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<Ipv4Addr> {
    let many = addresses(spec.cluster_ips.as_deref().unwrap_or_default());
    if many.is_empty() { addresses(spec.cluster_ip.as_slice()) } else { many }
}

fn load_balancer_ips(service: &Service) -> Vec<Ipv4Addr> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let ours = ingress.iter().filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    ours.filter_map(|ingress| ingress.ip.as_deref()?.parse().ok()).collect()
}

fn addresses(texts: &[String]) -> Vec<Ipv4Addr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

#[cfg(test)]
mod tests;
