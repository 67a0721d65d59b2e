//! The end of a namespace. Conformance: sig-api-machinery Namespaces and OrderedNamespaceDeletion.

use serde_json::{Value, json};

use super::{Space, pod};

async fn end(space: &Space) {
    let path = format!("/api/v1/namespaces/{}", space.name);
    let (code, _, answer) = space.cluster.json("DELETE", &path, &[], &Value::Null).await;
    assert_eq!(code, 200, "{answer}");
}

#[tokio::test]
async fn pods_and_services_go_with_their_namespace() {
    let space = Space::new("ns-ends").await;
    let mut placed = pod("p", "web");
    placed["spec"]["nodeName"] = json!(space.nodes(1).await[0]);
    space.make(&space.pods(), &placed).await;
    let services = format!("{}/services", space.core);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    space.make(&services, &service).await;
    end(&space).await;
    space.gone(&format!("/api/v1/namespaces/{}", space.name)).await;
    // The name is free for another namespace, which is empty.
    let again = Space::new("ns-ends").await;
    again.count(&again.pods(), 0).await;
    again.count(&services, 0).await;
}

#[tokio::test]
async fn pods_go_before_all_else() {
    let space = Space::new("ns-ordered").await;
    let mut held = pod("p", "web");
    held["metadata"]["finalizers"] = json!(["e2e.example.com/finalizer"]);
    space.make(&space.pods(), &held).await;
    let maps = format!("{}/configmaps", space.core);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    space.make(&maps, &map).await;
    end(&space).await;
    let path = format!("/api/v1/namespaces/{}", space.name);
    let waiting = space
        .see(&path, |namespace| {
            let conditions = namespace["status"]["conditions"].as_array().cloned();
            conditions
                .unwrap_or_default()
                .iter()
                .any(|it| it["type"] == "NamespaceDeletionContentFailure")
        })
        .await;
    assert_eq!(waiting["status"]["phase"], "Terminating");
    let said = waiting["status"]["conditions"].to_string();
    for text in
        ["pods. has 1 resource instances", "e2e.example.com/finalizer in 1 resource instances"]
    {
        assert!(said.contains(text), "{said}");
    }
    let (_, pod) = space.cluster.get(&format!("{}/p", space.pods())).await;
    assert!(pod["metadata"]["deletionTimestamp"].is_string(), "{pod}");
    let (code, map) = space.cluster.get(&format!("{maps}/m")).await;
    assert_eq!((code, map["metadata"].get("deletionTimestamp")), (200, None), "{map}");
    let free = json!({"metadata": {"finalizers": null}});
    space.merge(&format!("{}/p", space.pods()), &free).await;
    space.gone(&path).await;
}
