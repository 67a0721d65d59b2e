//! The rules of all services as data, and the nftables scripts that load them or their difference. Pure.
//!
//! Traffic meets one map look-up, whatever the number of services:
//! ```text
//! prerouting, output ─▶ services ─▶ cluster_ips | external_ips | nodeports ─▶ svc-… ─▶ ep-… (dnat)
//! before them: refused, refused_ports (services without endpoints)        postrouting: masquerade
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Packets with this mark leave with this node's address (the bit kube-proxy uses).
pub const MASQUERADE_MARK: &str = "0x4000";
const TABLE: &str = "ip bulkhead-proxy";

/// A verdict map of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Map {
    ClusterIps,
    ExternalIps,
    NodePorts,
    /// Addresses, and node ports, of services without endpoints.
    Refused,
    RefusedPorts,
}

impl Map {
    pub const ALL: [Map; 5] =
        [Map::ClusterIps, Map::ExternalIps, Map::NodePorts, Map::Refused, Map::RefusedPorts];

    pub fn name(self) -> &'static str {
        match self {
            Map::ClusterIps => "cluster_ips",
            Map::ExternalIps => "external_ips",
            Map::NodePorts => "nodeports",
            Map::Refused => "refused",
            Map::RefusedPorts => "refused_ports",
        }
    }

    fn key_type(self) -> &'static str {
        match self {
            Map::ClusterIps | Map::ExternalIps | Map::Refused => {
                "ipv4_addr . inet_proto . inet_service"
            }
            Map::NodePorts | Map::RefusedPorts => "inet_proto . inet_service",
        }
    }
}

/// Everything that services put into the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Name to rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Affinity sets: name to timeout in seconds. The name changes with the timeout.
    pub sets: BTreeMap<String, u32>,
    /// Map and key to verdict.
    pub elements: BTreeMap<(Map, String), String>,
}

/// Replaces the whole table.
pub fn full_script(wanted: &Ruleset) -> String {
    let mut script = format!("table {TABLE}\ndelete table {TABLE}\n{}", base_table());
    script.push_str(&update_script(&Ruleset::default(), wanted));
    script
}

/// Changes the table from `loaded` to `wanted`: nothing that stays the same is mentioned.
pub fn update_script(loaded: &Ruleset, wanted: &Ruleset) -> String {
    let mut script = String::new();
    for (name, seconds) in new_entries(&loaded.sets, &wanted.sets) {
        line(
            &mut script,
            format_args!(
                "add set {TABLE} {name} {{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; }}"
            ),
        );
    }
    for name in wanted.chains.keys().filter(|name| !loaded.chains.contains_key(*name)) {
        line(&mut script, format_args!("add chain {TABLE} {name}"));
    }
    for (name, rules) in new_entries(&loaded.chains, &wanted.chains) {
        if loaded.chains.contains_key(name) {
            line(&mut script, format_args!("flush chain {TABLE} {name}"));
        }
        for rule in rules {
            line(&mut script, format_args!("add rule {TABLE} {name} {rule}"));
        }
    }
    // Old before new: a key whose verdict changes is both.
    for ((map, key), verdict) in new_entries(&wanted.elements, &loaded.elements) {
        let map = map.name();
        line(&mut script, format_args!("delete element {TABLE} {map} {{ {key} : {verdict} }}"));
    }
    for ((map, key), verdict) in new_entries(&loaded.elements, &wanted.elements) {
        let map = map.name();
        line(&mut script, format_args!("add element {TABLE} {map} {{ {key} : {verdict} }}"));
    }
    // Chains name each other: all are emptied before the first is deleted.
    let gone: BTreeSet<&String> =
        loaded.chains.keys().filter(|name| !wanted.chains.contains_key(*name)).collect();
    for command in ["flush", "delete"] {
        for name in &gone {
            line(&mut script, format_args!("{command} chain {TABLE} {name}"));
        }
    }
    for name in loaded.sets.keys().filter(|name| !wanted.sets.contains_key(*name)) {
        line(&mut script, format_args!("delete set {TABLE} {name}"));
    }
    script
}

/// Entries of `wanted` that `loaded` lacks or has with another value.
fn new_entries<'a, K: Ord, V: PartialEq>(
    loaded: &'a BTreeMap<K, V>,
    wanted: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    wanted.iter().filter(|(key, value)| loaded.get(key) != Some(*value))
}

fn line(script: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(script, "{text}");
}

/// Hooks and maps. Cluster addresses that this node has itself (its DNS) are left to it.
fn base_table() -> String {
    let maps: String = Map::ALL
        .iter()
        .map(|map| format!("  map {} {{ type {} : verdict; }}\n", map.name(), map.key_type()))
        .collect();
    let lookup = "ip daddr . meta l4proto . th dport vmap";
    let local_port = "fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap";
    format!(
        "table {TABLE} {{
{maps}  chain refuse {{
    ct state new fib daddr type != local {lookup} @refused
    ct state new {local_port} @refused_ports
  }}
  chain refuse-prerouting {{
    type filter hook prerouting priority -110; policy accept;
    jump refuse
  }}
  chain refuse-output {{
    type filter hook output priority -110; policy accept;
    jump refuse
  }}
  chain services {{
    fib daddr type != local {lookup} @cluster_ips
    {lookup} @external_ips
    {local_port} @nodeports
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    jump services
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump services
  }}
  chain postrouting {{
    type nat hook postrouting priority 90; policy accept;
    meta mark & {MASQUERADE_MARK} == {MASQUERADE_MARK} meta mark set meta mark ^ {MASQUERADE_MARK} masquerade
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(chain: &str, rule: &str) -> Ruleset {
        Ruleset {
            chains: BTreeMap::from([(chain.to_owned(), vec![rule.to_owned()])]),
            sets: BTreeMap::new(),
            elements: BTreeMap::from([(
                (Map::ClusterIps, "10.96.0.5 . tcp . 80".to_owned()),
                format!("goto {chain}"),
            )]),
        }
    }

    #[test]
    fn equal_rules_are_no_script() {
        assert_eq!(update_script(&one("a", "x"), &one("a", "x")), "");
    }

    #[test]
    fn a_changed_chain_is_rewritten_in_place() {
        let script = update_script(&one("a", "x"), &one("a", "y"));
        let expected = format!("flush chain {TABLE} a\nadd rule {TABLE} a y\n");
        assert_eq!(script, expected);
    }

    #[test]
    fn references_go_before_what_they_name() {
        let script = update_script(&one("a", "x"), &one("b", "x"));
        let at = |text: &str| script.find(text).unwrap_or_else(|| panic!("{text} in {script}"));
        assert!(at("add chain") < at("add rule"));
        assert!(at("delete element") < at("add element"));
        assert!(at("add element") < at("delete chain ip bulkhead-proxy a"));
    }
}
