//! ResourceQuota: admission counts what comes, the controller what goes.

use std::sync::Arc;

use super::{
    Cluster, Value, delete, json, make, map, merge, namespace, parts::controllers, pod, refused,
};

fn quota(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec})
}

async fn used(cluster: &Cluster, path: &str) -> Value {
    cluster.get(path).await.1["status"]["used"].clone()
}

/// Waits until a quota's usage is this.
async fn wait_used(cluster: &Cluster, path: &str, expect: Value) {
    wait(cluster, path, |quota| quota["status"]["used"] == expect).await;
}

/// Watches a quota until it is as it should be.
async fn wait(cluster: &Cluster, path: &str, is_done: impl Fn(&Value) -> bool) {
    let (collection, name) = path.rsplit_once('/').unwrap();
    let named = format!("{collection}?fieldSelector=metadata.name%3D{name}");
    cluster.follow(&named, |all| all.get(name).is_some_and(&is_done)).await;
}

#[tokio::test]
async fn quotas_never_over_admit_concurrent_creations() {
    let cluster = Arc::new(Cluster::start().await);
    let path = namespace(&cluster, "q", json!({})).await;
    let quotas = format!("{path}/resourcequotas");
    make(&cluster, &quotas, &quota("a", json!({"hard": {"configmaps": "5"}}))).await;
    make(&cluster, &quotas, &quota("b", json!({"hard": {"count/configmaps": "9"}}))).await;
    let tries = (0..20).map(|n| {
        let (cluster, path) = (cluster.clone(), format!("{path}/configmaps"));
        tokio::spawn(async move { cluster.post(&path, &map(&format!("m{n}"))).await })
    });
    let mut made = 0;
    for tried in futures::future::join_all(tries).await {
        let (code, answer) = tried.unwrap();
        if code == 201 {
            made += 1;
            continue;
        }
        assert_eq!(code, 403, "{answer}");
        let message = answer["message"].as_str().unwrap();
        let expect = "is forbidden: exceeded quota: a, requested: configmaps=1, used: configmaps=5, limited: configmaps=5";
        assert!(message.ends_with(expect), "{message}");
    }
    assert_eq!(made, 5);
    assert_eq!(used(&cluster, &format!("{quotas}/a")).await, json!({"configmaps": "5"}));
    assert_eq!(used(&cluster, &format!("{quotas}/b")).await, json!({"count/configmaps": "5"}));
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn quotas_follow_the_lives_of_objects() {
    let cluster = Cluster::start().await;
    let token = controllers(&cluster).await;
    let path = namespace(&cluster, "life", json!({})).await;
    let apps = "/apis/apps/v1/namespaces/life";
    let names = [
        "configmaps",
        "secrets",
        "services",
        "replicationcontrollers",
        "count/replicasets.apps",
        "services.nodeports",
    ];
    let hard: Value = names
        .iter()
        .map(|name| ((*name).to_owned(), json!("4")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let own = format!("{path}/resourcequotas/q");
    make(&cluster, &format!("{path}/resourcequotas"), &quota("q", json!({"hard": hard}))).await;
    // The CA's copy is a ConfigMap of every namespace.
    let base = json!({"configmaps": "1", "secrets": "0", "services": "0", "replicationcontrollers": "0",
        "count/replicasets.apps": "0", "services.nodeports": "0"});
    wait_used(&cluster, &own, base.clone()).await;
    let meta = json!({"name": "x"});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let objects = [
        (format!("{path}/configmaps"), map("x"), "configmaps", "2"),
        (
            format!("{path}/secrets"),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta}),
            "secrets",
            "1",
        ),
        (
            format!("{path}/replicationcontrollers"),
            json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": meta,
                "spec": {"replicas": 0, "selector": {"a": "b"}, "template": template}}),
            "replicationcontrollers",
            "1",
        ),
        (
            format!("{apps}/replicasets"),
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta,
                "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}}),
            "count/replicasets.apps",
            "1",
        ),
        (
            format!("{path}/services"),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
            "services",
            "1",
        ),
    ];
    for (collection, object, name, count) in objects {
        make(&cluster, &collection, &object).await;
        let mut expect = base.clone();
        expect[name] = json!(count);
        if name == "services" {
            expect["services.nodeports"] = json!("1");
        }
        assert_eq!(used(&cluster, &own).await, expect, "counted with the write");
        assert_eq!(delete(&cluster, &format!("{collection}/x")).await.0, 200);
        wait_used(&cluster, &own, base.clone()).await;
    }
    token.cancel();
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn quotas_follow_the_lives_of_pods() {
    let cluster = Cluster::start().await;
    let token = controllers(&cluster).await;
    let path = namespace(&cluster, "pods", json!({})).await;
    let hard = json!({"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi", "requests.ephemeral-storage": "2Gi", "requests.example.com/gpu": "3"});
    let own = format!("{path}/resourcequotas/q");
    make(&cluster, &format!("{path}/resourcequotas"), &quota("q", json!({"hard": hard}))).await;
    let pods = format!("{path}/pods");
    let resources = |cpu: &str, gpu: &str| {
        json!({"resources": {"requests": {"cpu": cpu, "ephemeral-storage": "1Gi", "example.com/gpu": gpu},
        "limits": {"memory": "256Mi", "example.com/gpu": gpu}}})
    };
    make(&cluster, &pods, &pod("a", resources("600m", "2"))).await;
    let full = json!({"pods": "1", "requests.cpu": "600m", "limits.memory": "256Mi", "requests.ephemeral-storage": "1Gi", "requests.example.com/gpu": "2"});
    wait_used(&cluster, &own, full.clone()).await;
    for (body, expect) in [
        (
            pod("b", resources("600m", "1")),
            "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1",
        ),
        (
            pod("b", resources("100m", "2")),
            "pods \"b\" is forbidden: exceeded quota: q, requested: requests.example.com/gpu=2, used: requests.example.com/gpu=2, limited: requests.example.com/gpu=3",
        ),
        (
            pod("b", json!({})),
            "pods \"b\" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c",
        ),
    ] {
        assert_eq!(refused(&cluster, &pods, &body).await, (403, expect.to_owned()));
    }
    // A pod that has ended uses nothing any more.
    let ended = json!({"status": {"phase": "Succeeded"}});
    merge(&cluster, &format!("{pods}/a/status"), &ended).await;
    let empty = json!({"pods": "0", "requests.cpu": "0", "limits.memory": "0", "requests.ephemeral-storage": "0", "requests.example.com/gpu": "0"});
    wait_used(&cluster, &own, empty.clone()).await;
    make(&cluster, &pods, &pod("b", resources("600m", "2"))).await;
    wait_used(&cluster, &own, full).await;
    assert_eq!(delete(&cluster, &format!("{pods}/b")).await.0, 200);
    wait_used(&cluster, &own, empty).await;
    token.cancel();
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn quotas_with_scopes_count_their_pods_only() {
    let cluster = Cluster::start().await;
    let path = namespace(&cluster, "scopes", json!({})).await;
    let quotas = format!("{path}/resourcequotas");
    for (name, scope) in [
        ("best", "BestEffort"),
        ("not-best", "NotBestEffort"),
        ("ending", "Terminating"),
        ("staying", "NotTerminating"),
    ] {
        make(&cluster, &quotas, &quota(name, json!({"hard": {"pods": "5"}, "scopes": [scope]})))
            .await;
    }
    let pods = format!("{path}/pods");
    make(&cluster, &pods, &pod("idle", json!({}))).await;
    let mut busy = pod("busy", json!({"resources": {"requests": {"cpu": "1"}}}));
    busy["spec"]["activeDeadlineSeconds"] = json!(3600);
    make(&cluster, &pods, &busy).await;
    for name in ["best", "not-best", "ending", "staying"] {
        assert_eq!(
            used(&cluster, &format!("{quotas}/{name}")).await,
            json!({"pods": "1"}),
            "{name}"
        );
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn quotas_are_listed_changed_and_deleted() {
    let cluster = Cluster::start().await;
    let token = controllers(&cluster).await;
    let path = namespace(&cluster, "manage", json!({})).await;
    let quotas = format!("{path}/resourcequotas");
    let own = format!("{quotas}/q");
    make(&cluster, &quotas, &quota("q", json!({"hard": {"cpu": "1", "memory": "500Mi"}}))).await;
    wait_used(&cluster, &own, json!({"cpu": "0", "memory": "0"})).await;
    let (code, changed) =
        merge(&cluster, &own, &json!({"spec": {"hard": {"cpu": "2", "memory": "1Gi"}}})).await;
    assert_eq!((code, &changed["spec"]["hard"]["memory"]), (200, &json!("1Gi")));
    let status = json!({"status": {"hard": {"cpu": "7", "memory": "7Gi"}}});
    let (code, changed) = merge(&cluster, &format!("{own}/status"), &status).await;
    assert_eq!(
        (code, &changed["status"]["hard"]["cpu"]),
        (200, &json!("7")),
        "the status is its writer's"
    );
    // The controller puts the status right.
    wait(&cluster, &own, |quota| quota["status"]["hard"] == quota["spec"]["hard"]).await;
    assert_eq!(cluster.get("/api/v1/resourcequotas").await.1["items"].as_array().unwrap().len(), 1);
    assert_eq!(delete(&cluster, &quotas).await.0, 200);
    assert_eq!(cluster.get(&own).await.0, 404);
    token.cancel();
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn quota_status_is_written_by_status_requests_and_put_right() {
    let cluster = Cluster::start().await;
    let path = namespace(&cluster, "status", json!({})).await;
    let quotas = format!("{path}/resourcequotas");
    let own = format!("{quotas}/q");
    make(&cluster, &quotas, &quota("q", json!({"hard": {"cpu": "500m", "memory": "500Mi"}}))).await;
    let status = json!({"status": {"hard": {"cpu": "1", "memory": "1Gi"}, "used": {"cpu": "0"}}});
    let (code, patched) = merge(&cluster, &format!("{own}/status"), &status).await;
    assert_eq!((code, &patched["status"]), (200, &status["status"]));
    assert_eq!(patched["spec"]["hard"]["cpu"], "500m", "the spec is not the status's to change");
    let mut put = patched.clone();
    put["status"]["hard"]["cpu"] = json!("2");
    put["spec"]["hard"]["cpu"] = json!("9");
    let (code, _, updated) = cluster.json("PUT", &format!("{own}/status"), &[], &put).await;
    assert_eq!((code, &updated["status"]["hard"]["cpu"]), (200, &json!("2")));
    assert_eq!(updated["spec"], patched["spec"]);
    let (code, read) = cluster.get(&format!("{own}/status")).await;
    assert_eq!((code, &read["status"]), (200, &updated["status"]));
    // Nothing has put it right so far; the controller does.
    let token = controllers(&cluster).await;
    wait(&cluster, &own, |quota| {
        quota["status"]
            == json!({"hard": quota["spec"]["hard"], "used": {"cpu": "0", "memory": "0"}})
    })
    .await;
    token.cancel();
    assert_eq!(delete(&cluster, &format!("{quotas}?fieldSelector=metadata.name%3Dq")).await.0, 200);
    assert_eq!(cluster.get(&own).await.0, 404);
    cluster.handle.shutdown().await;
}
