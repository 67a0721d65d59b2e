//! Pods, as far as the API goes.

use serde_json::{Value, json};

use super::{MERGE, PODS, cluster, pod, text};

#[tokio::test]
async fn pods_get_class_generation_and_status() {
    let cluster = cluster().await;
    let mut guaranteed = pod("q");
    let room = json!({"cpu": "100m", "memory": "64Mi"});
    guaranteed["spec"]["containers"][0]["resources"] = json!({"requests": room, "limits": room});
    let (code, made) = cluster.post(PODS, &guaranteed).await;
    assert_eq!((code, text(&made, "/status/qosClass")), (201, "Guaranteed"), "{made}");
    assert_eq!(made["metadata"]["generation"], 1);
    let mut own = pod("g");
    own["metadata"]["generation"] = json!(100);
    assert_eq!(
        cluster.post(PODS, &own).await.1["metadata"]["generation"],
        1,
        "a generation is not the client's"
    );
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(
        cluster.json("PATCH", &format!("{PODS}/g"), &[MERGE], &label).await.2["metadata"]["generation"],
        1
    );
    for (image, generation) in [("i2", 2), ("i3", 3)] {
        let patch = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": image}]);
        let headers = [("content-type", "application/json-patch+json")];
        let (_, _, changed) = cluster.json("PATCH", &format!("{PODS}/g"), &headers, &patch).await;
        assert_eq!(changed["metadata"]["generation"], generation, "{changed}");
    }
    let status = json!({"status": {"message": "Patched by e2e test", "reason": "E2E"}});
    let (code, _, patched) =
        cluster.json("PATCH", &format!("{PODS}/g/status"), &[MERGE], &status).await;
    assert_eq!((code, text(&patched, "/status/message")), (200, "Patched by e2e test"));
    assert_eq!(patched["metadata"]["generation"], 3);
    let (code, _, answer) = cluster.json("DELETE", PODS, &[], &Value::Null).await;
    assert_eq!((code, answer["items"].as_array().unwrap().len()), (200, 2), "{answer}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn pods_are_refused_for_what_cannot_run() {
    let cluster = cluster().await;
    let mut sysctls = pod("s");
    sysctls["spec"]["securityContext"] = json!({"sysctls": [{"name": "foo-", "value": "bar"}, {"name": "kernel.shmmax", "value": "1"}, {"name": "safe-and-unsafe", "value": "1"}, {"name": "bar..", "value": "42"}]});
    let (code, refused) = cluster.post(PODS, &sysctls).await;
    let fields: Vec<&str> = refused["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| text(c, "/field"))
        .collect();
    assert_eq!(
        (code, fields),
        (422, vec!["spec.securityContext.sysctls[0].name", "spec.securityContext.sysctls[3].name"]),
        "{refused}"
    );
    let mut absent = pod("r");
    absent["spec"]["runtimeClassName"] = json!("absent");
    let (code, refused) = cluster.post(PODS, &absent).await;
    assert_eq!((code, text(&refused, "/reason")), (403, "Forbidden"), "{refused}");
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "heavy"}, "handler": "h",
        "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}});
    assert_eq!(cluster.post("/apis/node.k8s.io/v1/runtimeclasses", &class).await.0, 201);
    let mut heavy = pod("h");
    heavy["spec"]["runtimeClassName"] = json!("heavy");
    let (code, made) = cluster.post(PODS, &heavy).await;
    assert_eq!(
        (code, &made["spec"]["overhead"]),
        (201, &json!({"cpu": "10m", "memory": "1Mi"})),
        "{made}"
    );
    cluster.json("DELETE", "/apis/node.k8s.io/v1/runtimeclasses/heavy", &[], &Value::Null).await;
    heavy["metadata"]["name"] = json!("h2");
    assert_eq!(cluster.post(PODS, &heavy).await.0, 403);
    let mut inline = pod("c");
    inline["spec"]["volumes"] =
        json!([{"name": "v", "csi": {"driver": "d.example.org", "volumeAttributes": {"a": "b"}}}]);
    let (code, made) = cluster.post(PODS, &inline).await;
    assert_eq!((code, text(&made, "/spec/volumes/0/csi/driver")), (201, "d.example.org"), "{made}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn limit_ranges_fill_and_bound_pods() {
    let cluster = cluster().await;
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container",
        "min": {"cpu": "50m"}, "max": {"cpu": "500m"}, "default": {"cpu": "400m"}, "defaultRequest": {"cpu": "100m"}}]}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/limitranges", &range).await.0, 201);
    let (code, made) = cluster.post(PODS, &pod("d")).await;
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(
        (code, resources),
        (201, &json!({"limits": {"cpu": "400m"}, "requests": {"cpu": "100m"}}))
    );
    for (name, cpu) in [("small", "10m"), ("large", "600m")] {
        let mut bad = pod(name);
        bad["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let (code, refused) = cluster.post(PODS, &bad).await;
        assert_eq!((code, text(&refused, "/reason")), (403, "Forbidden"), "{refused}");
    }
    cluster.handle.shutdown().await;
}
