//! The index of names, built from Services and EndpointSlices. Pure.
//! Rules: Kubernetes DNS-Based Service Discovery, version 1.1.0.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

/// Version of the specification, served as TXT of `dns-version.<domain>`.
pub const SPECIFICATION_VERSION: &str = "1.1.0";
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Seconds clients may keep addresses of services, and of endpoints, which move more often.
const SERVICE_TTL: u32 = 30;
const ENDPOINT_TTL: u32 = 5;

/// What one name has. Names without anything exist because longer names do.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Entry {
    pub ttl: u32,
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Port and target.
    pub services: BTreeSet<(u16, String)>,
    pub alias: Option<String>,
    pub text: Option<&'static str>,
}

/// All names of the cluster, in lower case without the last dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    pub domain: String,
    /// Whether the API was read: before that nothing is known to be missing.
    pub known: bool,
    names: HashMap<String, Entry>,
    reverse: BTreeMap<Ipv4Addr, BTreeSet<String>>,
}

impl Records {
    /// Records before the API was read.
    pub fn unknown(domain: &str) -> Records {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        let mut records =
            Records { domain, known: false, names: HashMap::new(), reverse: BTreeMap::new() };
        let version = format!("dns-version.{}", records.domain);
        records.entry(&version).text = Some(SPECIFICATION_VERSION);
        for kind in ["svc", "pod"] {
            let name = format!("{kind}.{}", records.domain);
            records.entry(&name);
        }
        records
    }

    pub fn build(
        domain: &str,
        services: &[Arc<Service>],
        slices: &[Arc<EndpointSlice>],
    ) -> Records {
        let mut records = Records { known: true, ..Records::unknown(domain) };
        let mut by_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
        for slice in slices {
            let labels = slice.metadata.labels.as_ref();
            let name = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL));
            if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), name) {
                by_service.entry((namespace, name)).or_default().push(slice);
            }
        }
        for service in services {
            let metadata = &service.metadata;
            if let (Some(namespace), Some(name), Some(spec)) =
                (metadata.namespace.as_deref(), metadata.name.as_deref(), &service.spec)
            {
                let slices = by_service.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
                let full = format!("{name}.{namespace}.svc.{}", records.domain);
                records.add_service(&full, spec, slices);
            }
        }
        records
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.names.get(name)
    }

    pub fn names_of(&self, address: Ipv4Addr) -> impl Iterator<Item = &str> {
        self.reverse.get(&address).into_iter().flatten().map(String::as_str)
    }

    fn add_service(&mut self, name: &str, spec: &ServiceSpec, slices: &[&EndpointSlice]) {
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec.external_name.as_deref().unwrap_or_default();
            let target = target.trim_end_matches('.').to_ascii_lowercase();
            if !target.is_empty() {
                let entry = self.entry(name);
                (entry.ttl, entry.alias) = (SERVICE_TTL, Some(target));
            }
            return;
        }
        if spec.cluster_ip.as_deref() == Some("None") {
            self.entry(name).ttl = ENDPOINT_TTL;
            slices.iter().for_each(|slice| self.add_headless(name, slice));
            return;
        }
        let many = spec.cluster_ips.as_deref().unwrap_or_default();
        let addresses = many.iter().chain(&spec.cluster_ip).filter_map(|text| text.parse().ok());
        let addresses: BTreeSet<Ipv4Addr> = addresses.collect();
        if addresses.is_empty() {
            return;
        }
        for address in &addresses {
            self.reverse.entry(*address).or_default().insert(name.to_owned());
        }
        let entry = self.entry(name);
        (entry.ttl, entry.addresses) = (SERVICE_TTL, addresses);
        for port in spec.ports.iter().flatten() {
            let protocol = port.protocol.as_deref();
            if let Ok(number) = u16::try_from(port.port) {
                self.add_port(name, port.name.as_deref(), protocol, (number, name), SERVICE_TTL);
            }
        }
    }

    fn add_headless(&mut self, service: &str, slice: &EndpointSlice) {
        if slice.address_type != "IPv4" {
            return;
        }
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint)) {
            let Some(address) =
                endpoint.addresses.first().and_then(|text| text.parse::<Ipv4Addr>().ok())
            else {
                continue;
            };
            let host = endpoint.hostname.clone().filter(|host| !host.is_empty());
            let host = host.unwrap_or_else(|| address.to_string().replace('.', "-"));
            let name = format!("{}.{service}", host.to_ascii_lowercase());
            self.entry(service).addresses.insert(address);
            let entry = self.entry(&name);
            entry.ttl = ENDPOINT_TTL;
            entry.addresses.insert(address);
            self.reverse.entry(address).or_default().insert(name.clone());
            for EndpointPort { name: port_name, protocol, port, .. } in slice.ports.iter().flatten()
            {
                if let Some(number) = port.and_then(|port| u16::try_from(port).ok()) {
                    let target = (number, name.as_str());
                    self.add_port(
                        service,
                        port_name.as_deref(),
                        protocol.as_deref(),
                        target,
                        ENDPOINT_TTL,
                    );
                }
            }
        }
    }

    /// `_port._protocol.service`, for named ports only.
    fn add_port(
        &mut self,
        service: &str,
        port_name: Option<&str>,
        protocol: Option<&str>,
        (number, target): (u16, &str),
        ttl: u32,
    ) {
        let Some(port_name) = port_name.filter(|name| !name.is_empty()) else { return };
        let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
        let name = format!("_{}._{protocol}.{service}", port_name.to_ascii_lowercase());
        let entry = self.entry(&name);
        entry.ttl = ttl;
        entry.services.insert((number, target.to_owned()));
    }

    /// The entry of a name, and empty ones for the names above it inside the domain.
    fn entry(&mut self, name: &str) -> &mut Entry {
        let mut above = name;
        while let Some((_, rest)) = above.split_once('.') {
            if above == self.domain || (above != name && self.names.contains_key(above)) {
                break;
            }
            self.names.entry(above.to_owned()).or_default();
            above = rest;
        }
        self.names.entry(self.domain.clone()).or_default();
        self.names.entry(name.to_owned()).or_default()
    }
}

fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
}
