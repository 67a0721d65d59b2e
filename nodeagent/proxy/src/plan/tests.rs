//! Tables of services and endpoints with the rules they need.

use serde_json::{Value, json};

use super::*;

fn config() -> Config {
    Config {
        node_name: "node-1".into(),
        node_ip: Ipv4Addr::new(10, 88, 0, 11),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
    }
}

fn service(spec: Value) -> Arc<Service> {
    let mut whole = json!({
        "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"],
        "ports": [{"port": 80, "name": "http", "protocol": "TCP"}]
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object = json!({"metadata": {"namespace": "default", "name": "web"}, "spec": whole});
    Arc::new(serde_json::from_value(object).unwrap())
}

/// Endpoints as (last byte of the address, node, conditions).
fn slice(endpoints: &[(u8, &str, Value)]) -> Arc<EndpointSlice> {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(byte, node, conditions)| {
            json!({"addresses": [format!("10.244.1.{byte}")], "nodeName": node,
                   "conditions": conditions})
        })
        .collect();
    let object = json!({
        "metadata": {"namespace": "default", "name": "web-abc",
                     "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn planned(spec: Value, endpoints: &[(u8, &str, Value)]) -> Ruleset {
    plan(&[service(spec)], &[slice(endpoints)], &config())
}

fn ready() -> Value {
    json!({"ready": true})
}

fn chain<'a>(ruleset: &'a Ruleset, prefix: &str) -> &'a [String] {
    let mut found = ruleset.chains.iter().filter(|(name, _)| name.starts_with(prefix));
    let (_, rules) = found.next().unwrap_or_else(|| panic!("no {prefix} in {ruleset:#?}"));
    assert!(found.next().is_none(), "several {prefix}");
    rules
}

/// Bytes of the addresses that all endpoint chains lead to.
fn reached(ruleset: &Ruleset) -> Vec<u8> {
    let mut bytes: Vec<u8> = ruleset
        .chains
        .iter()
        .filter(|(name, _)| name.starts_with("ep-"))
        .map(|(_, rules)| {
            let rule = rules.last().unwrap();
            rule.split(['.', ':']).nth(3).unwrap().parse().unwrap()
        })
        .collect();
    bytes.sort_unstable();
    bytes
}

#[test]
fn a_cluster_ip_is_balanced_over_its_endpoints() {
    let ruleset = planned(json!({}), &[(2, "node-1", ready()), (3, "node-2", ready())]);
    let key = (Map::ClusterIps, "10.96.0.5 . tcp . 80".to_owned());
    assert!(ruleset.elements[&key].starts_with("goto svc-"));
    assert_eq!(ruleset.elements.len(), 1);
    let rules = chain(&ruleset, "svc-");
    assert!(rules[0].starts_with("ip saddr != 10.244.0.0/16 meta mark"));
    assert!(rules[1].starts_with("numgen random mod 2 vmap { 0 : goto ep-"));
    assert_eq!(reached(&ruleset), [2, 3]);
}

#[test]
fn who_is_an_endpoint() {
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    let dead = json!({"ready": false, "serving": false, "terminating": true});
    let cases: [(&str, Vec<Value>, Vec<u8>); 5] = [
        ("unknown is ready", vec![json!({})], vec![2]),
        ("not ready", vec![json!({"ready": false}), ready()], vec![3]),
        ("ending gives way to ready", vec![ending.clone(), ready()], vec![3]),
        ("ending serves when it is all there is", vec![ending, dead.clone()], vec![2]),
        ("dead", vec![dead], vec![]),
    ];
    for (what, conditions, expected) in cases {
        let endpoints: Vec<(u8, &str, Value)> =
            (2..).zip(conditions).map(|(byte, condition)| (byte, "node-1", condition)).collect();
        assert_eq!(reached(&planned(json!({}), &endpoints)), expected, "{what}");
    }
}

#[test]
fn nobody_there_is_refused() {
    let spec = json!({"type": "NodePort", "externalIPs": ["192.0.2.1"],
                      "ports": [{"port": 80, "name": "http", "nodePort": 30080}]});
    let ruleset = planned(spec, &[]);
    let keys: Vec<String> =
        ruleset.elements.keys().map(|(map, key)| format!("{} {key}", map.name())).collect();
    assert_eq!(
        keys,
        [
            "refused 10.96.0.5 . tcp . 80",
            "refused 192.0.2.1 . tcp . 80",
            "refused_ports tcp . 30080"
        ]
    );
}

#[test]
fn node_ports_are_masqueraded_unless_local() {
    let endpoints = [(2, "node-1", ready()), (3, "node-2", ready())];
    let ports = json!([{"port": 80, "name": "http", "nodePort": 30080}]);
    let cluster = planned(json!({"type": "NodePort", "ports": ports}), &endpoints);
    assert!(cluster.elements[&(Map::NodePorts, "tcp . 30080".into())].starts_with("goto ext-"));
    assert!(chain(&cluster, "ext-")[0].starts_with("meta mark set"));
    let spec = json!({"type": "NodePort", "ports": ports, "externalTrafficPolicy": "Local"});
    let local = planned(spec.clone(), &endpoints);
    assert!(chain(&local, "ext-").iter().all(|rule| !rule.contains("mark")));
    assert!(chain(&local, "loc-")[0].starts_with("goto ep-"), "only the one on this node");
    let none = planned(spec, &[(3, "node-2", ready())]);
    assert_eq!(chain(&none, "loc-"), ["drop"]);
}

#[test]
fn internal_policy_local() {
    let spec = json!({"internalTrafficPolicy": "Local"});
    let ruleset = planned(spec, &[(2, "node-1", ready()), (3, "node-2", ready())]);
    assert!(ruleset.elements.values().all(|verdict| verdict.starts_with("goto loc-")));
}

#[test]
fn affinity_remembers_per_endpoint() {
    let spec = json!({"sessionAffinity": "ClientIP",
                      "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}});
    let ruleset = planned(spec, &[(2, "node-1", ready()), (3, "node-2", ready())]);
    assert_eq!(ruleset.sets.values().collect::<Vec<_>>(), [&60, &60]);
    let rules = chain(&ruleset, "svc-");
    assert_eq!(rules.iter().filter(|rule| rule.starts_with("ip saddr @aff-")).count(), 2);
}

#[test]
fn load_balancer_sources_are_gated() {
    let mut service = Arc::unwrap_or_clone(service(json!({
        "type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24", "x; flush ruleset"]
    })));
    let status = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.7"},
                        {"ip": "198.51.100.8", "ipMode": "Proxy"}, {"ip": "1.2.3.4 drop"}]}});
    service.status = serde_json::from_value(status).unwrap();
    let ruleset = plan(&[Arc::new(service)], &[slice(&[(2, "node-1", ready())])], &config());
    let verdict = &ruleset.elements[&(Map::ExternalIps, "198.51.100.7 . tcp . 80".into())];
    assert!(verdict.starts_with("goto lb-"));
    assert_eq!(ruleset.elements.len(), 2);
    let gate = chain(&ruleset, "lb-");
    assert!(gate[0].starts_with("ip saddr 192.0.2.0/24 goto ext-") && gate[1] == "drop");
}

#[test]
fn these_have_no_rules() {
    let cases = [
        json!({"clusterIP": "None", "clusterIPs": ["None"]}),
        json!({"type": "ExternalName", "externalName": "example.org"}),
        json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}),
    ];
    for spec in cases {
        assert_eq!(planned(spec.clone(), &[(2, "node-1", ready())]), Ruleset::default(), "{spec}");
    }
}
