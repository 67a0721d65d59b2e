//! Priority and fairness as clients see it.

use crate::common::Cluster;
use serde_json::{Value, json};

const BASE: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

fn header(headers: &http::HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn the_default_objects_exist_and_the_mandatory_ones_come_back() {
    let cluster = Cluster::start().await;
    for (kind, names) in [
        (
            "prioritylevelconfigurations",
            vec![
                "exempt",
                "catch-all",
                "system",
                "node-high",
                "leader-election",
                "workload-high",
                "workload-low",
                "global-default",
            ],
        ),
        (
            "flowschemas",
            vec![
                "exempt",
                "probes",
                "system-nodes",
                "service-accounts",
                "global-default",
                "catch-all",
            ],
        ),
    ] {
        let (_, list) = cluster.get(&format!("{BASE}/{kind}")).await;
        for name in names {
            assert!(
                list["items"].as_array().unwrap().iter().any(|one| one["metadata"]["name"] == name),
                "{kind} {name}"
            );
        }
    }
    let path = format!("{BASE}/flowschemas/catch-all");
    let before = cluster.get(&path).await.1["metadata"]["uid"].clone();
    cluster.json("DELETE", &path, &[], &Value::Null).await;
    cluster.until(&path, |code, schema| code == 200 && schema["metadata"]["uid"] != before).await;
    let found = |_: u16, schema: &Value| schema["status"]["conditions"][0]["status"] == "False";
    let schema = cluster.until(&format!("{BASE}/flowschemas/service-accounts"), found).await;
    assert_eq!(schema["status"]["conditions"][0]["reason"], "Found");
    cluster.handle.shutdown().await;
}

/// The conformance test "should ensure that requests can be classified by adding FlowSchema and
/// PriorityLevelConfiguration".
#[tokio::test]
async fn requests_are_classified_by_added_objects() {
    let cluster = Cluster::start().await;
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": "mine"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}});
    let (code, level) = cluster.post(&format!("{BASE}/prioritylevelconfigurations"), &level).await;
    assert_eq!(code, 201, "{level}");
    let schema = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "mine"},
        "spec": {"matchingPrecedence": 3, "priorityLevelConfiguration": {"name": "mine"}, "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "noxu"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    let (code, schema) = cluster.post(&format!("{BASE}/flowschemas"), &schema).await;
    assert_eq!(code, 201, "{schema}");
    let found = |_: u16, schema: &Value| schema["status"]["conditions"][0]["status"] == "False";
    cluster.until(&format!("{BASE}/flowschemas/mine"), found).await;
    let as_noxu = [("impersonate-user", "noxu"), ("impersonate-group", "system:authenticated")];
    let (_, headers, _) = cluster.json("GET", "/version", &as_noxu, &Value::Null).await;
    assert_eq!(
        header(&headers, "x-kubernetes-pf-flowschema-uid"),
        schema["metadata"]["uid"].as_str().unwrap()
    );
    assert_eq!(
        header(&headers, "x-kubernetes-pf-prioritylevel-uid"),
        level["metadata"]["uid"].as_str().unwrap()
    );
    let as_other = [("impersonate-user", "other"), ("impersonate-group", "system:authenticated")];
    let (_, headers, _) = cluster.json("GET", "/version", &as_other, &Value::Null).await;
    assert_ne!(
        header(&headers, "x-kubernetes-pf-flowschema-uid"),
        schema["metadata"]["uid"].as_str().unwrap()
    );
    assert!(!header(&headers, "x-kubernetes-pf-flowschema-uid").is_empty());
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn metrics_have_upstreams_names() {
    let cluster = Cluster::start().await;
    cluster.get("/api/v1/namespaces").await;
    let (_, page) = cluster.get("/metrics").await;
    let page = page.as_str().unwrap();
    for name in [
        "apiserver_request_total{",
        "apiserver_request_duration_seconds_bucket{",
        "apiserver_current_inflight_requests{",
        "apiserver_storage_objects{",
        "etcd_request_duration_seconds_bucket{",
        "authentication_attempts_total{",
        "apiserver_flowcontrol_dispatched_requests_total{",
        "apiserver_flowcontrol_current_executing_requests{",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"workload-low\"} 245",
        "apiserver_flowcontrol_request_wait_duration_seconds_bucket{",
        "process_resident_memory_bytes",
    ] {
        assert!(page.contains(name), "{name}\n{page}");
    }
    cluster.handle.shutdown().await;
}
