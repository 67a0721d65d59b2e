//! Verbs over the wire: create, read, change, delete, with upstream's codes and texts.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use common::Cluster;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[tokio::test]
async fn an_object_lives_and_dies() {
    let cluster = Cluster::start().await;
    let (code, made) = cluster.post(MAPS, &map("one")).await;
    assert_eq!(code, 201, "{made}");
    let version = made["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    assert!(!made["metadata"]["uid"].as_str().unwrap().is_empty());
    let (code, error) = cluster.post(MAPS, &map("one")).await;
    assert_eq!(
        (code, error["message"].as_str().unwrap()),
        (409, "configmaps \"one\" already exists")
    );
    let (code, read) = cluster.get(&format!("{MAPS}/one")).await;
    assert_eq!((code, &read), (200, &made));
    let mut changed = made.clone();
    changed["data"]["a"] = json!("2");
    let (code, _, changed) = cluster.json("PUT", &format!("{MAPS}/one"), &[], &changed).await;
    assert_eq!(code, 200, "{changed}");
    assert_ne!(changed["metadata"]["resourceVersion"], version);
    let (code, _, error) = cluster.json("PUT", &format!("{MAPS}/one"), &[], &made).await;
    assert_eq!((code, error["reason"].as_str().unwrap()), (409, "Conflict"));
    let (code, _, done) = cluster.json("DELETE", &format!("{MAPS}/one"), &[], &Value::Null).await;
    assert_eq!((code, done["status"].as_str().unwrap()), (200, "Success"));
    let (code, error) = cluster.get(&format!("{MAPS}/one")).await;
    assert_eq!((code, error["message"].as_str().unwrap()), (404, "configmaps \"one\" not found"));
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn patches_of_all_kinds_apply() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("one")).await;
    let path = format!("{MAPS}/one?fieldManager=t");
    for (media, patch, key) in [
        ("application/merge-patch+json", json!({"data": {"m": "1"}}), "m"),
        ("application/strategic-merge-patch+json", json!({"data": {"s": "1"}}), "s"),
        (
            "application/json-patch+json",
            json!([{"op": "add", "path": "/data/j", "value": "1"}]),
            "j",
        ),
        (
            "application/apply-patch+yaml",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"y": "1"}}),
            "y",
        ),
    ] {
        let headers = [("content-type", media)];
        let (code, _, patched) = cluster.json("PATCH", &path, &headers, &patch).await;
        assert_eq!((code, &patched["data"][key]), (200, &json!("1")), "{media}: {patched}");
    }
    let headers = [("content-type", "text/plain")];
    let (code, _, error) = cluster.json("PATCH", &path, &headers, &json!({})).await;
    assert_eq!(code, 415, "{error}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn lists_are_paged_and_selected() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d"] {
        let mut object = map(name);
        object["metadata"]["labels"] = json!({"odd": (name == "a" || name == "c").to_string()});
        assert_eq!(cluster.post(MAPS, &object).await.0, 201);
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let (_, list) = cluster.get(&format!("{MAPS}?labelSelector=odd%3Dtrue")).await;
    assert_eq!(names(&list), ["a", "c"]);
    let (_, list) = cluster.get(&format!("{MAPS}?fieldSelector=metadata.name%3Db")).await;
    assert_eq!(names(&list), ["b"]);
    let (_, first) = cluster.get(&format!("{MAPS}?limit=3")).await;
    assert_eq!(names(&first), ["a", "b", "c"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    // A snapshot: what happens meanwhile is not seen by the next page.
    cluster.post(MAPS, &map("e")).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = cluster.get(&format!("{MAPS}?limit=3&continue={token}")).await;
    assert_eq!(names(&second), ["d"]);
    assert_eq!(first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    let (code, error) = cluster.get(&format!("{MAPS}?resourceVersion=1000000")).await;
    assert_eq!(
        (code, &error["details"]["causes"][0]["reason"]),
        (504, &json!("ResourceVersionTooLarge"))
    );
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn errors_are_worded_as_upstream() {
    let cluster = Cluster::start().await;
    for (method, path, body, code, text) in [
        ("GET", "/nothing", Value::Null, 404, "the server could not find the requested resource"),
        (
            "GET",
            "/api/v1/nothings",
            Value::Null,
            404,
            "the server could not find the requested resource",
        ),
        (
            "POST",
            "/api/v1/namespaces/none/configmaps",
            map("x"),
            404,
            "namespaces \"none\" not found",
        ),
        (
            "POST",
            "/version",
            Value::Null,
            405,
            "the server does not allow this method on the requested resource",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/default",
            Value::Null,
            403,
            "namespaces \"default\" is forbidden: this namespace may not be deleted",
        ),
        (
            "POST",
            MAPS,
            json!({"apiVersion": "v2", "kind": "ConfigMap"}),
            400,
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
    ] {
        let (got, _, error) = cluster.json(method, path, &[], &body).await;
        assert_eq!((got, error["message"].as_str().unwrap_or_default()), (code, text), "{path}");
        assert_eq!(error["kind"], "Status");
    }
    let mut object = map("strict");
    object["dta"] = json!({});
    let (code, error) = cluster.post(&format!("{MAPS}?fieldValidation=Strict"), &object).await;
    let text = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dta\"";
    assert_eq!((code, error["message"].as_str().unwrap()), (400, text));
    let (code, headers, made) = cluster.json("POST", MAPS, &[], &object).await;
    assert_eq!(
        (code, headers["warning"].to_str().unwrap()),
        (201, "299 - \"unknown field \\\"dta\\\"\"")
    );
    assert!(made.get("dta").is_none());
    let headers = [("accept", "text/html")];
    let (code, _, _) = cluster.json("GET", MAPS, &headers, &Value::Null).await;
    assert_eq!(code, 406);
    let (code, _, _) = cluster.json("POST", MAPS, &[], &json!({"x": "y".repeat(4 << 20)})).await;
    assert_eq!(code, 413);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_pod_goes_its_way() {
    let cluster = Cluster::start().await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    let (code, pod) = cluster.post(pods, &pod).await;
    assert_eq!(code, 201, "{pod}");
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert!(pod["spec"]["volumes"][0]["name"].as_str().unwrap().starts_with("kube-api-access-"));
    let path = format!("{pods}/{}", pod["metadata"]["name"].as_str().unwrap());
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(cluster.post(&format!("{path}/binding"), &binding).await.0, 201);
    assert_eq!(cluster.post(&format!("{path}/binding"), &binding).await.0, 409);
    let (_, bound) = cluster.get(&path).await;
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let (code, _, dying) = cluster.json("DELETE", &path, &[], &Value::Null).await;
    assert_eq!((code, &dying["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(30)));
    let now = json!({"gracePeriodSeconds": 0});
    let (code, _, _) = cluster.json("DELETE", &path, &[], &now).await;
    assert_eq!(code, 200);
    assert_eq!(cluster.get(&path).await.0, 404);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn scale_finalizers_and_dry_run() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "finalizers": ["example.com/hold"]},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let (code, made) = cluster.post(&format!("{path}?dryRun=All"), &deployment).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(cluster.get(&format!("{path}/d")).await.0, 404);
    cluster.post(path, &deployment).await;
    let headers = [("content-type", "application/merge-patch+json")];
    let patch = json!({"spec": {"replicas": 5}});
    let (code, _, scale) =
        cluster.json("PATCH", &format!("{path}/d/scale"), &headers, &patch).await;
    assert_eq!(
        (code, &scale["spec"]["replicas"], &scale["status"]["selector"]),
        (200, &json!(5), &json!("a=b"))
    );
    let (_, read) = cluster.get(&format!("{path}/d")).await;
    assert_eq!(
        (&read["spec"]["replicas"], &read["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );
    cluster.json("DELETE", &format!("{path}/d"), &[], &Value::Null).await;
    let (code, held) = cluster.get(&format!("{path}/d")).await;
    assert_eq!(code, 200);
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    let patch = json!({"metadata": {"finalizers": null}});
    cluster.json("PATCH", &format!("{path}/d"), &headers, &patch).await;
    assert_eq!(cluster.get(&format!("{path}/d")).await.0, 404);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn services_get_addresses() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/services";
    let (_, own) = cluster.get(&format!("{path}/kubernetes")).await;
    assert_eq!(own["spec"]["clusterIP"], "10.96.0.1");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]}});
    let (code, made) = cluster.post(path, &service).await;
    assert_eq!(code, 201, "{made}");
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port));
    assert_eq!(made["spec"]["clusterIPs"][0], made["spec"]["clusterIP"]);
    let mut taken = service.clone();
    taken["metadata"]["name"] = json!("t");
    taken["spec"]["clusterIP"] = made["spec"]["clusterIP"].clone();
    let (code, error) = cluster.post(path, &taken).await;
    assert_eq!(code, 422, "{error}");
    assert!(error["message"].as_str().unwrap().contains("provided IP is already allocated"));
    cluster.handle.shutdown().await;
}
