//! Which node a pod gets. Conformance: sig-scheduling SchedulerPredicates and SchedulerPreemption.

use serde_json::{Value, json};

use super::{
    common::{Cluster, Objects},
    make, parts, pod, workload,
};

const PODS: &str = "/api/v1/namespaces/default/pods";
const STRATEGIC: (&str, &str) = ("content-type", "application/strategic-merge-patch+json");

/// A server with a scheduler of its own: nodes are everybody's.
async fn cluster(nodes: &[&str]) -> Cluster {
    let cluster = Cluster::start().await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    for namespace in ["default", "kube-system"] {
        cluster.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account).await;
    }
    for name in nodes {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}]}});
        make(&cluster, "/api/v1/nodes", &node).await;
        // A node that reports is tainted no longer; nobody looks after nodes here.
        let untainted = json!({"spec": {"taints": null}});
        cluster.json("PATCH", &format!("/api/v1/nodes/{name}"), &[super::MERGE], &untainted).await;
    }
    parts::scheduler(&cluster).await;
    cluster
}

async fn see(cluster: &Cluster, pods: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let named = format!("{pods}?fieldSelector=metadata.name%3D{name}");
    let found = cluster.follow(&named, |all: &Objects| all.get(name).is_some_and(&wanted)).await;
    found[name].clone()
}

async fn lands(cluster: &Cluster, name: &str) -> String {
    let placed = see(cluster, PODS, name, |pod| pod["spec"]["nodeName"].is_string()).await;
    placed["spec"]["nodeName"].as_str().unwrap().to_owned()
}

/// The message of a pod that no node fits.
async fn stays(cluster: &Cluster, name: &str) -> String {
    let refused = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .into_iter()
            .find(|it| it["type"] == "PodScheduled" && it["reason"] == "Unschedulable")
    };
    let waiting = see(cluster, PODS, name, |pod| refused(pod).is_some()).await;
    assert_eq!(waiting["spec"].get("nodeName"), None, "{waiting}");
    refused(&waiting).unwrap()["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn node_selectors_are_obeyed() {
    let cluster = cluster(&["n1", "n2"]).await;
    let label = json!({"metadata": {"labels": {"kubernetes.io/e2e-test": "42"}}});
    cluster.json("PATCH", "/api/v1/nodes/n2", &[super::MERGE], &label).await;
    let mut chooses = pod("chooses", "a");
    chooses["spec"]["nodeSelector"] = json!({"kubernetes.io/e2e-test": "42"});
    make(&cluster, PODS, &chooses).await;
    assert_eq!(lands(&cluster, "chooses").await, "n2");
    let mut picky = pod("picky", "a");
    picky["spec"]["nodeSelector"] = json!({"label": "nonempty"});
    make(&cluster, PODS, &picky).await;
    assert_eq!(
        stays(&cluster, "picky").await,
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    );
    let events = "/api/v1/namespaces/default/events";
    let told = |all: &Objects| {
        all.values()
            .any(|it| it["reason"] == "FailedScheduling" && it["involvedObject"]["name"] == "picky")
    };
    cluster.follow(events, told).await;
    // It gets its node as soon as there is one.
    let label = json!({"metadata": {"labels": {"label": "nonempty"}}});
    cluster.json("PATCH", "/api/v1/nodes/n1", &[super::MERGE], &label).await;
    assert_eq!(lands(&cluster, "picky").await, "n1");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn host_ports_of_all_addresses_conflict() {
    let cluster = cluster(&["n1"]).await;
    let with_port = |name: &str, ip: Value, protocol: &str| {
        let mut pod = pod(name, "a");
        pod["spec"]["containers"][0]["ports"] =
            json!([{"containerPort": 8080, "hostPort": 54322, "hostIP": ip, "protocol": protocol}]);
        pod
    };
    make(&cluster, PODS, &with_port("all", json!("0.0.0.0"), "TCP")).await;
    assert_eq!(lands(&cluster, "all").await, "n1");
    make(&cluster, PODS, &with_port("one", json!("127.0.0.1"), "TCP")).await;
    assert_eq!(
        stays(&cluster, "one").await,
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    );
    make(&cluster, PODS, &with_port("udp", json!("127.0.0.1"), "UDP")).await;
    assert_eq!(lands(&cluster, "udp").await, "n1");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn pods_of_a_runtime_class_without_overhead_are_scheduled() {
    let cluster = cluster(&["n1", "n2"]).await;
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "vm"}, "handler": "vm",
        "scheduling": {"nodeSelector": {"kubernetes.io/hostname": "n2"}}});
    make(&cluster, "/apis/node.k8s.io/v1/runtimeclasses", &class).await;
    let mut plain = pod("plain", "a");
    plain["spec"]["runtimeClassName"] = json!("vm");
    let made = make(&cluster, PODS, &plain).await;
    assert_eq!(made["spec"].get("overhead"), None, "{made}");
    assert_eq!(lands(&cluster, "plain").await, "n2");
    cluster.handle.shutdown().await;
}

/// Classes `low`, `middle` and `high`, and five of a made-up resource on `n1`.
async fn contested() -> Cluster {
    let cluster = cluster(&["n1"]).await;
    for (name, value) in [("low", 1), ("middle", 100), ("high", 1000)] {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value});
        make(&cluster, "/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
    }
    let extended = json!({"status": {"capacity": {"example.com/foo": "5"}, "allocatable": {"example.com/foo": "5"}}});
    let (code, _, node) =
        cluster.json("PATCH", "/api/v1/nodes/n1/status", &[STRATEGIC], &extended).await;
    assert_eq!((code, &node["status"]["allocatable"]["example.com/foo"]), (200, &json!("5")));
    cluster
}

fn asking(name: &str, class: &str, amount: u32) -> Value {
    let mut pod = pod(name, "a");
    pod["spec"]["priorityClassName"] = json!(class);
    let amount = json!({"example.com/foo": amount.to_string()});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": amount, "limits": amount});
    pod
}

/// Deletes a pod as its node's agent does at the end of the grace.
async fn ends(cluster: &Cluster, name: &str) {
    let leaving = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
    see(cluster, PODS, name, leaving).await;
    let now = json!({"gracePeriodSeconds": 0});
    let (code, _, answer) = cluster.json("DELETE", &format!("{PODS}/{name}"), &[], &now).await;
    assert_eq!(code, 200, "{answer}");
}

#[tokio::test]
async fn a_more_important_pod_takes_the_place_of_the_least_important() {
    let cluster = contested().await;
    for (name, class, amount) in [("modest", "low", 2), ("settled", "middle", 3)] {
        make(&cluster, PODS, &asking(name, class, amount)).await;
        lands(&cluster, name).await;
    }
    make(&cluster, PODS, &asking("urgent", "high", 2)).await;
    let leaving =
        see(&cluster, PODS, "modest", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
    let conditions = leaving["status"]["conditions"].as_array().unwrap();
    let disrupted = conditions.iter().find(|it| it["type"] == "DisruptionTarget").unwrap();
    assert_eq!(
        (&disrupted["status"], &disrupted["reason"]),
        (&json!("True"), &json!("PreemptionByScheduler"))
    );
    let nominated = |pod: &Value| pod["status"]["nominatedNodeName"] == "n1";
    see(&cluster, PODS, "urgent", nominated).await;
    // The room is kept: one of the victim's kind does not get it first.
    make(&cluster, PODS, &asking("replacement", "low", 2)).await;
    ends(&cluster, "modest").await;
    assert_eq!(lands(&cluster, "urgent").await, "n1");
    stays(&cluster, "replacement").await;
    let (_, settled) = cluster.get(&format!("{PODS}/settled")).await;
    assert_eq!(settled["metadata"].get("deletionTimestamp"), None, "{settled}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn critical_pods_preempt() {
    let cluster = contested().await;
    make(&cluster, PODS, &asking("settled", "high", 5)).await;
    lands(&cluster, "settled").await;
    let system = "/api/v1/namespaces/kube-system/pods";
    make(&cluster, system, &asking("critical", "system-cluster-critical", 3)).await;
    ends(&cluster, "settled").await;
    let placed = see(&cluster, system, "critical", |pod| pod["spec"]["nodeName"] == "n1").await;
    assert_eq!(placed["spec"]["priority"], 2_000_000_000);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn the_path_of_preemption_through_replica_sets() {
    let cluster = contested().await;
    let running = parts::controllers(&cluster).await;
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let set = |class: &str, amount: u32| {
        let mut set = workload("ReplicaSet", class, 1, "i");
        let spec = asking("x", class, amount)["spec"].clone();
        set["spec"]["template"]["spec"] = spec;
        // Without an agent nobody waits for their end.
        set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
        set
    };
    let of = |class: &'static str| format!("{PODS}?labelSelector=app%3D{class}");
    let placed =
        |all: &Objects| all.len() == 1 && all.values().all(|pod| pod["spec"]["nodeName"] == "n1");
    let mut first = Vec::new();
    for (class, amount) in [("low", 2), ("middle", 3)] {
        make(&cluster, sets, &set(class, amount)).await;
        first.push(cluster.follow(&of(class), placed).await);
    }
    make(&cluster, sets, &set("high", 2)).await;
    cluster.follow(&of("high"), placed).await;
    // The least important was replaced, and its replacement waits; the other never left.
    let waiting = |all: &Objects| {
        all.len() == 1
            && all.keys().ne(first[0].keys())
            && all.values().all(|pod| pod["spec"]["nodeName"].is_null())
    };
    cluster.follow(&of("low"), waiting).await;
    let still = cluster.follow(&of("middle"), placed).await;
    assert!(still.keys().eq(first[1].keys()), "{still:?}");
    running.cancel();
    cluster.handle.shutdown().await;
}
