//! Service rules against a real kernel: a node, two backends and an outsider in namespaces. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use nix::sched::{CloneFlags, setns, unshare};
use proxy::ruleset::{Ruleset, full_script, update_script};
use proxy::{Config, plan};
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(3);

struct Namespace(File);

impl Namespace {
    fn new() -> Namespace {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Namespace(made.join().unwrap());
        namespace.sh("ip link set lo up");
        namespace
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    fn sh(&self, script: &str) {
        self.run(|| {
            let output = Command::new("sh").args(["-ec", script]).output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{script}: {complaint}");
        });
    }

    fn load(&self, script: &str) {
        self.run(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            if let Err(error) = runtime.block_on(nftables::apply(script)) {
                panic!("{error}\n{script}");
            }
        });
    }

    /// Answers each connection with `name` and who asked, for as long as the test runs.
    fn serve(&self, name: u8) {
        let listener = self.run(|| TcpListener::bind("0.0.0.0:8080").unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let from = stream.peer_addr().unwrap().ip();
                let _ = write!(stream, "{name} {from}");
            }
        });
    }

    fn ask(&self, address: &str) -> std::io::Result<(u8, Ipv4Addr)> {
        let address: SocketAddr = address.parse().unwrap();
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            let (name, from) = text.split_once(' ').expect("servers answer with two words");
            Ok((name.parse().unwrap(), from.parse().unwrap()))
        })
    }

    /// Who answers 40 connections.
    fn answering(&self, address: &str) -> BTreeSet<u8> {
        (0..40).map(|_| self.ask(address).unwrap_or_else(|e| panic!("{address}: {e}")).0).collect()
    }
}

fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root".into());
    }
    for program in ["nft", "ip"] {
        if Command::new(program).arg("-V").output().is_err() {
            return Some(format!("the program {program}"));
        }
    }
    let probed = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let probe = "nft 'add table ip probe; \
            add chain ip probe c { type nat hook prerouting priority -100; }; \
            add rule ip probe c fib daddr type local numgen random mod 2 vmap { 0 : accept }'";
        let output = Command::new("sh").args(["-c", probe]).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).replace('\n', "; ");
        (!output.status.success()).then(|| format!("nftables nat, fib or numgen ({complaint})"))
    });
    probed.join().unwrap()
}

/// A node with pods 10.244.1.2 and .3 on links of their own, and an outsider at 10.88.0.99.
struct Site {
    node: Namespace,
    pods: [Namespace; 2],
    outside: Namespace,
}

fn site() -> Option<Site> {
    if let Some(missing) = missing() {
        println!("skipped: {missing}");
        return None;
    }
    let node = Namespace::new();
    let cable = |far: &Namespace, name: &str, near: &str, address: &str, gateway: &str| {
        let path = format!("/proc/{}/fd/{}", std::process::id(), far.0.as_raw_fd());
        node.sh(&format!(
            "ip link add name {name} type veth peer name far && ip link set far netns {path} && \
             ip link set {name} up && {near}"
        ));
        far.sh(&format!(
            "ip link set far name eth0 && ip link set eth0 up && \
             ip address add {address} dev eth0 && ip route add default via {gateway} onlink dev eth0"
        ));
    };
    node.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    let pods = [2, 3].map(|byte| {
        let pod = Namespace::new();
        let near = format!(
            "(ip address add 10.244.1.1/32 dev pod{byte}; ip route add 10.244.1.{byte} dev pod{byte})"
        );
        let address = format!("10.244.1.{byte}/32");
        cable(&pod, &format!("pod{byte}"), &near, &address, "10.244.1.1");
        pod.serve(byte);
        pod
    });
    let outside = Namespace::new();
    let near = "ip address add 10.88.0.11/24 dev eth0";
    cable(&outside, "eth0", near, "10.88.0.99/24", "10.88.0.11");
    node.sh("ip route add default via 10.88.0.99");
    Some(Site { node, pods, outside })
}

fn rules(policy: &str, endpoints: &[(u8, &str)]) -> Ruleset {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"type": "NodePort", "clusterIP": "10.96.0.5", "externalIPs": ["192.0.2.9"],
                 "externalTrafficPolicy": policy,
                 "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}
    }))
    .unwrap();
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(byte, node)| json!({"addresses": [format!("10.244.1.{byte}")], "nodeName": node}))
        .collect();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "web-1",
                     "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}]
    }))
    .unwrap();
    let config = Config {
        node_name: "node-1".into(),
        node_ip: Ipv4Addr::new(10, 88, 0, 11),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
    };
    plan::plan(&[Arc::new(service)], &[Arc::new(slice)], &config)
}

#[test]
fn services_are_balanced_from_everywhere() {
    let Some(Site { node, pods, outside }) = site() else { return };
    let gateway = Ipv4Addr::new(10, 244, 1, 1);
    let both = BTreeSet::from([2, 3]);
    let first = rules("Cluster", &[(2, "node-1"), (3, "node-1")]);
    node.load(&full_script(&first));
    node.load(&full_script(&first));
    assert_eq!(node.answering("10.96.0.5:80"), both, "node to cluster address");
    assert_eq!(pods[0].answering("10.96.0.5:80"), both, "pod to cluster address, itself included");
    assert_eq!(outside.answering("10.88.0.11:30080"), both, "outsider to node port");
    assert_eq!(outside.answering("192.0.2.9:80"), both, "outsider to external address");
    assert_eq!(node.answering("10.88.0.11:30080"), both, "node to its node port");
    for _ in 0..20 {
        let (name, from) = pods[0].ask("10.96.0.5:80").unwrap();
        let expected = if name == 2 { gateway } else { Ipv4Addr::new(10, 244, 1, 2) };
        assert_eq!(from, expected, "a pod keeps its address except towards itself");
        assert_eq!(outside.ask("10.88.0.11:30080").unwrap().1, gateway);
    }

    let one = rules("Cluster", &[(3, "node-1")]);
    node.load(&update_script(&first, &one));
    assert_eq!(pods[0].answering("10.96.0.5:80"), BTreeSet::from([3]), "an endpoint left");

    let local = rules("Local", &[(2, "node-2"), (3, "node-1")]);
    node.load(&update_script(&one, &local));
    assert_eq!(outside.answering("10.88.0.11:30080"), BTreeSet::from([3]));
    let source = outside.ask("10.88.0.11:30080").unwrap().1;
    assert_eq!(source, Ipv4Addr::new(10, 88, 0, 99), "policy Local keeps the source");
    assert_eq!(pods[0].answering("10.96.0.5:80"), both);

    let none = rules("Cluster", &[]);
    node.load(&update_script(&local, &none));
    for (who, address) in
        [(&node, "10.96.0.5:80"), (&pods[0], "10.96.0.5:80"), (&outside, "10.88.0.11:30080")]
    {
        let error = who.ask(address).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{address}");
    }
    node.load(&update_script(&none, &first));
    assert_eq!(pods[1].answering("10.96.0.5:80"), both);
    node.load(&update_script(&first, &Ruleset::default()));
}
