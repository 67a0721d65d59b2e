//! Pods into guest requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::pod;
use crate::spec::sandbox::{Card, sandbox};
use crate::spec::sizing::{GUEST_OVERHEAD_BYTES, Policy, size};
use crate::spec::{
    ContainerInput, ImageConfig, NodeFacts, Objects, Rejection, ServiceFact, container,
};

fn facts() -> NodeFacts {
    NodeFacts {
        node_name: "node-1".into(),
        node_ip: "10.88.0.11".into(),
        pod_ip: "10.244.0.2".into(),
        cpu_milli: 2000,
        memory_bytes: 1 << 30,
        cluster_domain: "cluster.local".into(),
        cluster_dns: "10.96.0.10".into(),
        resolv_conf: "nameserver 10.88.0.1\nsearch rack\n".into(),
    }
}

fn make(fields: Value) -> Result<proto::guest::Container, Rejection> {
    make_in(json!({}), fields)
}

fn make_in(spec: Value, fields: Value) -> Result<proto::guest::Container, Rejection> {
    let mut one = json!({"name": "web", "image": "i"});
    for (key, value) in fields.as_object().unwrap() {
        one[key] = value.clone();
    }
    let mut spec = spec;
    spec["containers"] = json!([one]);
    let pod = pod(spec);
    let data = |pairs: &[(&str, &str)]| {
        Arc::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect())
    };
    let objects = Objects {
        config_maps: BTreeMap::from([("cm".into(), data(&[("A", "1"), ("b=c", "2")]))]),
        secrets: BTreeMap::from([("s".into(), data(&[("pw", "x")]))]),
    };
    let services = [ServiceFact {
        namespace: "n".into(),
        name: "my-db".into(),
        cluster_ip: "10.96.0.7".into(),
        ports: vec![("sql".into(), 5432, "TCP".into())],
    }];
    let image = ImageConfig {
        entrypoint: vec!["/run".into()],
        cmd: vec!["x".into()],
        env: vec!["PATH=/bin".into(), "A=image".into()],
        working_dir: "/srv".into(),
        user: "app".into(),
    };
    container(&ContainerInput {
        pod: &pod,
        container: &pod.spec.as_ref().unwrap().containers[0],
        id: "web.0".into(),
        image: &image,
        layer_devices: vec!["/dev/vda".into()],
        facts: &facts(),
        objects: &objects,
        services: &services,
    })
}

fn env_of(fields: Value, name: &str) -> String {
    let made = make(fields).unwrap();
    let prefix = format!("{name}=");
    made.env.iter().find_map(|e| e.strip_prefix(&prefix)).unwrap_or("<none>").to_owned()
}

#[test]
fn environment_sources() {
    let value = |from: Value| json!({"env": [{"name": "X", "valueFrom": from}]});
    for (fields, expect) in [
        (json!({"env": [{"name": "X", "value": "v"}]}), "v"),
        (
            json!({"env": [{"name": "Y", "value": "1"}, {"name": "X", "value": "$(Y)$(NO)"}]}),
            "1$(NO)",
        ),
        (
            json!({"env": [{"name": "X", "value": "$(MY_DB_SERVICE_HOST):$(MY_DB_SERVICE_PORT_SQL)"}]}),
            "10.96.0.7:5432",
        ),
        (value(json!({"configMapKeyRef": {"name": "cm", "key": "A"}})), "1"),
        (
            value(json!({"configMapKeyRef": {"name": "cm", "key": "no", "optional": true}})),
            "<none>",
        ),
        (value(json!({"secretKeyRef": {"name": "s", "key": "pw"}})), "x"),
        (value(json!({"fieldRef": {"fieldPath": "status.podIP"}})), "10.244.0.2"),
        (value(json!({"fieldRef": {"fieldPath": "metadata.name"}})), "p"),
        (value(json!({"fieldRef": {"fieldPath": "spec.nodeName"}})), "node-1"),
        (value(json!({"resourceFieldRef": {"resource": "limits.cpu"}})), "2"),
        (
            value(json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}})),
            "1024",
        ),
    ] {
        assert_eq!(env_of(fields.clone(), "X"), expect, "{fields}");
    }
    let from = json!({"envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}]});
    assert_eq!(env_of(from.clone(), "P_A"), "1");
    assert_eq!(env_of(from, "A"), "image");
    assert_eq!(env_of(json!({}), "HOSTNAME"), "p");
}

#[test]
fn missing_objects_are_named() {
    for (fields, message) in [
        (json!({"envFrom": [{"secretRef": {"name": "no"}}]}), "secret \"no\" not found"),
        (
            json!({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "no"}}}]}),
            "couldn't find key no in ConfigMap n/cm",
        ),
    ] {
        let rejection = make(fields).unwrap_err();
        assert_eq!(
            (rejection.reason, rejection.message.as_str()),
            ("CreateContainerConfigError", message)
        );
    }
}

#[test]
fn service_links_can_be_off() {
    let made = make_in(json!({"enableServiceLinks": false}), json!({})).unwrap();
    assert!(!made.env.iter().any(|env| env.starts_with("MY_DB")));
    let made = make(json!({})).unwrap();
    assert!(made.env.contains(&"MY_DB_PORT_5432_TCP=tcp://10.96.0.7:5432".to_owned()));
}

#[test]
fn users_and_capabilities() {
    let made = make(json!({})).unwrap();
    assert_eq!((made.user.as_str(), made.capabilities.len()), ("app", 14));
    assert_eq!((made.args, made.cwd), (vec!["/run".to_owned(), "x".to_owned()], "/srv".to_owned()));
    let context = |own: Value| make(json!({"securityContext": own}));
    let made = context(json!({"runAsUser": 1000, "runAsGroup": 5, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CAP_CHOWN"]}, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true})).unwrap();
    assert_eq!(
        (made.user.as_str(), made.no_new_privileges, made.read_only_root),
        ("1000:5", true, true)
    );
    // Upstream: what is dropped by ALL can be added back by name.
    assert_eq!(made.capabilities, ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]);
    assert_eq!(context(json!({"privileged": true})).unwrap().capabilities.len(), 41);
    assert!(
        context(json!({"runAsNonRoot": true}))
            .unwrap_err()
            .message
            .contains("non-numeric user (app)")
    );
    assert!(context(json!({"runAsNonRoot": true, "runAsUser": 0})).is_err());
    assert!(context(json!({"runAsNonRoot": true, "runAsUser": 7})).is_ok());
    let groups = json!({"securityContext": {"supplementalGroups": [7], "fsGroup": 9}});
    assert_eq!(make_in(groups, json!({})).unwrap().supplementary_gids, [7, 9]);
}

#[test]
fn vm_sizes() {
    const MIB: u64 = 1 << 20;
    let policy = Policy { unlimited_container_bytes: 128 * MIB, unlimited_vcpus: 1, node_cpus: 4 };
    let one = |cpu: &str, memory: &str| json!({"name": cpu, "image": "i", "resources": {"limits": {"cpu": cpu, "memory": memory}}});
    for (spec, vcpus, memory) in [
        (json!({}), 1, 128 * MIB),
        (json!({"containers": [one("1500m", "64Mi")]}), 2, 64 * MIB),
        (json!({"containers": [one("1", "64Mi"), one("8", "64Mi")]}), 4, 128 * MIB),
        (
            json!({"initContainers": [one("1", "512Mi")], "containers": [one("1", "64Mi")]}),
            1,
            512 * MIB,
        ),
        (json!({"resources": {"limits": {"memory": "300Mi", "cpu": "3"}}}), 3, 300 * MIB),
    ] {
        let size = size(&pod(spec.clone()), policy);
        assert_eq!(
            (size.vcpus, size.memory_bytes),
            (vcpus, memory + GUEST_OVERHEAD_BYTES),
            "{spec}"
        );
    }
}

#[test]
fn sandbox_texts() {
    let card = Card {
        mac: [2, 0, 0, 0, 0, 1],
        address: "10.244.0.2".into(),
        prefix_length: 24,
        gateway: "10.244.0.1".into(),
        mtu: 1450,
    };
    let spec = json!({
        "subdomain": "db", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}],
        "volumes": [{"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}, {"name": "c", "configMap": {"name": "x"}}],
    });
    let made = sandbox(&pod(spec), &facts(), &card, "/dev/vdb");
    assert_eq!(
        made.resolv_conf,
        "search n.svc.cluster.local svc.cluster.local cluster.local rack\nnameserver 10.96.0.10\noptions ndots:5\n"
    );
    assert!(made.hosts.contains("10.244.0.2\tp.db.n.svc.cluster.local\tp\n"), "{}", made.hosts);
    assert!(made.hosts.contains("1.2.3.4\ta\tb\n"));
    assert_eq!(made.interfaces[0].addresses, ["10.244.0.2/24"]);
    assert_eq!(made.volumes.len(), 2);
    let dns = json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "options": [{"name": "ndots", "value": "1"}]}});
    let made = sandbox(&pod(dns), &facts(), &card, "");
    assert_eq!(made.resolv_conf, "nameserver 9.9.9.9\noptions ndots:1\n");
    let made = sandbox(&pod(json!({"dnsPolicy": "Default"})), &facts(), &card, "");
    assert_eq!(made.resolv_conf, "search rack\nnameserver 10.88.0.1\n");
}
