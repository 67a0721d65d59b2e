//! Whose an address is, and whether a range is still needed. Pure.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, IPAddressSpec, ParentReference, ServiceCIDR};
use kube::{ResourceExt, api::ObjectMeta};
use serde_json::{Value, json};

use crate::driver::Key;

const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

/// The object for an address that a Service holds.
pub(super) fn address(address: &str, service: &Key) -> IPAddress {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let labels = [(FAMILY, family), (MANAGED_BY, MANAGER)];
    IPAddress {
        metadata: ObjectMeta {
            name: Some(address.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        spec: IPAddressSpec {
            parent_ref: ParentReference {
                group: Some(String::new()),
                resource: "services".into(),
                namespace: Some(service.namespace.clone()),
                name: service.name.clone(),
            },
        },
    }
}

/// The Service that holds an address, if it is one that does.
pub(super) fn holder(address: &IPAddress) -> Option<Key> {
    let parent = &address.spec.parent_ref;
    let group = parent.group.as_deref().unwrap_or_default();
    (group.is_empty() && parent.resource == "services").then(|| Key {
        namespace: parent.namespace.clone().unwrap_or_default(),
        name: parent.name.clone(),
    })
}

/// Made by this controller, or by another that keeps the same labels.
pub(super) fn is_ours(address: &IPAddress) -> bool {
    address.labels().get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
}

fn ranges(range: &ServiceCIDR) -> Vec<IpNet> {
    let texts = range.spec.as_ref().and_then(|spec| spec.cidrs.clone()).unwrap_or_default();
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Whether an address is in `range` and in no other that stays.
pub(super) fn is_needed(
    range: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    addresses: &[Arc<IPAddress>],
) -> bool {
    let own = ranges(range);
    let stays = |other: &&Arc<ServiceCIDR>| {
        other.metadata.deletion_timestamp.is_none() && other.name_any() != range.name_any()
    };
    let others: Vec<IpNet> = all.iter().filter(stays).flat_map(|other| ranges(other)).collect();
    let has = |ranges: &[IpNet], ip: &IpAddr| ranges.iter().any(|range| range.contains(ip));
    let mut addresses = addresses.iter().filter_map(|address| address.name_any().parse().ok());
    addresses.any(|ip| has(&own, &ip) && !has(&others, &ip))
}

/// What the Ready condition says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition {
    status: &'static str,
    reason: &'static str,
    message: &'static str,
}

impl Condition {
    pub(super) const READY: Self =
        Self { status: "True", reason: "", message: "Kubernetes Service CIDR is ready" };
    pub(super) const TERMINATING: Self = Self {
        status: "False",
        reason: "Terminating",
        message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
    };

    /// The status patch, unless the range says so already.
    pub(super) fn patch(self, range: &ServiceCIDR, now: Timestamp) -> Option<Value> {
        let conditions = range.status.as_ref().and_then(|status| status.conditions.as_ref());
        let present = conditions.into_iter().flatten().find(|one| one.type_ == "Ready");
        if present.is_some_and(|one| one.status == self.status && one.reason == self.reason) {
            return None;
        }
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Some(
            json!({"status": {"conditions": [{"type": "Ready", "status": self.status, "reason": self.reason,
            "message": self.message, "lastTransitionTime": now}]}}),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, cidr: &str, ends: bool) -> Arc<ServiceCIDR> {
        let mut object = json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}});
        if ends {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_range_is_needed_while_it_alone_has_an_address_in_use() {
        let key = Key { namespace: "d".into(), name: "s".into() };
        let used = [Arc::new(address("10.96.0.5", &key))];
        let ending = range("a", "10.96.0.0/16", true);
        for (other, expect) in [
            (range("b", "10.97.0.0/16", false), true),
            (range("b", "10.96.0.0/24", false), false),
            (range("b", "10.96.0.0/24", true), true),
        ] {
            let all = [ending.clone(), other];
            assert_eq!(is_needed(&ending, &all, &used), expect, "{all:?}");
            assert!(!is_needed(&ending, &all, &[]));
        }
    }

    #[test]
    fn addresses_name_their_holder() {
        let key = Key { namespace: "d".into(), name: "s".into() };
        let mut shown = address("10.96.0.5", &key);
        assert_eq!((holder(&shown), is_ours(&shown)), (Some(key), true));
        shown.metadata.labels = None;
        shown.spec.parent_ref.resource = "gateways".into();
        assert_eq!((holder(&shown), is_ours(&shown)), (None, false));
    }

    #[test]
    fn conditions_are_written_once() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut one = (*range("a", "10.96.0.0/16", false)).clone();
        let patch = Condition::READY.patch(&one, now).unwrap();
        one.status = Some(serde_json::from_value(patch["status"].clone()).unwrap());
        assert_eq!(Condition::READY.patch(&one, now), None);
        assert!(Condition::TERMINATING.patch(&one, now).is_some());
    }
}
