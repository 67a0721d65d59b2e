//! Discovery, OpenAPI, tables, health.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use common::Cluster;
use http_body_util::BodyExt;
use serde_json::{Value, json};

#[tokio::test]
async fn discovery_has_both_forms() {
    let cluster = Cluster::start().await;
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    for path in ["/api", "/apis"] {
        let (code, headers, document) =
            cluster.json("GET", path, &[("accept", accept)], &Value::Null).await;
        assert_eq!((code, document["kind"].as_str().unwrap()), (200, "APIGroupDiscoveryList"));
        let media = headers["content-type"].to_str().unwrap();
        assert_eq!(media, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        let etag = headers["etag"].to_str().unwrap();
        let again = [("accept", accept), ("if-none-match", etag)];
        assert_eq!(cluster.json("GET", path, &again, &Value::Null).await.0, 304);
    }
    let (_, core) = cluster.get("/api/v1").await;
    let eviction =
        core["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods/eviction");
    let eviction = eviction.unwrap();
    assert_eq!(
        (&eviction["kind"], &eviction["group"], &eviction["version"]),
        (&json!("Eviction"), &json!("policy"), &json!("v1"))
    );
    let (_, groups) = cluster.get("/apis").await;
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "apps"));
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn discovery_is_written_as_asked() {
    let cluster = Cluster::start().await;
    let protobuf = api::protobuf::MEDIA_TYPE;
    let v2 = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = format!("{protobuf};{v2}");
    for (path, accept, kind) in [
        ("/api", protobuf, "APIVersions"),
        ("/apis", protobuf, "APIGroupList"),
        ("/apis/apps", protobuf, "APIGroup"),
        ("/api/v1", protobuf, "APIResourceList"),
        ("/api", aggregated.as_str(), "APIGroupDiscoveryList"),
        ("/apis", aggregated.as_str(), "APIGroupDiscoveryList"),
    ] {
        let response = cluster.send("GET", path, &[("accept", accept)], "").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &accept.parse().unwrap())
        );
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let document = api::protobuf::decode(&bytes).unwrap();
        assert_eq!(document["kind"], kind, "{path}");
    }
    let yaml = [("accept", "application/yaml")];
    let (code, headers, text) = cluster.json("GET", "/apis/apps/v1", &yaml, &Value::Null).await;
    assert_eq!((code, headers["content-type"].to_str().unwrap()), (200, "application/yaml"));
    assert!(text.as_str().unwrap().contains("kind: APIResourceList"), "{text}");
    let html = [("accept", "text/html")];
    assert_eq!(cluster.json("GET", "/apis", &html, &Value::Null).await.0, 406);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn clients_are_warned_and_people_get_lines() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/endpoints";
    let (_, headers, _) = cluster.json("GET", path, &[], &Value::Null).await;
    let warning =
        "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    assert_eq!(headers["warning"], warning);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (code, _, refused) =
        cluster.json("GET", &format!("{path}?includeObject=All"), &table, &Value::Null).await;
    let why = "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', 'Object', 'None', or empty";
    assert_eq!((code, &refused["message"]), (400, &json!(why)));
    let lines = cluster.send("GET", path, &[("user-agent", "curl/8.5.0")], "").await;
    let lines = lines.into_body().collect().await.unwrap().to_bytes();
    assert!(lines.starts_with(b"{\n  \""), "{lines:?}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn openapi_says_what_kubectl_asks() {
    let cluster = Cluster::start().await;
    let (_, index) = cluster.get("/openapi/v3").await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let (code, document) = cluster.get(url).await;
    assert_eq!(code, 200);
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"));
    assert!(
        patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some()
    );
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert!(document["components"]["schemas"].get("io.k8s.api.apps.v1.Deployment").is_some());
    assert_eq!(cluster.get("/openapi/v2").await.0, 200);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn health_version_and_metrics() {
    let cluster = Cluster::start().await;
    for path in ["/livez", "/readyz", "/healthz", "/readyz/ping"] {
        assert_eq!(cluster.get(path).await, (200, json!("ok")));
    }
    let (_, verbose) = cluster.get("/readyz?verbose").await;
    assert!(verbose.as_str().unwrap().ends_with("readyz check passed\n"));
    assert_eq!(cluster.get("/version").await.1["gitVersion"], "v1.36.4+bulkhead");
    let (_, metrics) = cluster.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    for name in
        ["apiserver_request_total{", "process_resident_memory_bytes ", "apiserver_storage_objects{"]
    {
        assert!(metrics.contains(name), "{name}");
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn definitions_serve_custom_resources() {
    let cluster = Cluster::start().await;
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "machines.metal.bulkhead.io"},
        "spec": {"group": "metal.bulkhead.io", "scope": "Cluster",
            "names": {"kind": "Machine", "plural": "machines", "singular": "machine", "listKind": "MachineList"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "additionalPrinterColumns": [{"name": "State", "type": "string", "jsonPath": ".status.state"}]}]}});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let watch = format!("{path}?watch=true");
    let mut events = common::Events::new(cluster.send("GET", &watch, &[], "").await);
    assert_eq!(cluster.post(path, &definition).await.0, 201);
    loop {
        let event = events.next().await.unwrap();
        let conditions = event["object"]["status"]["conditions"].as_array();
        if conditions.is_some_and(|list| list.iter().any(|c| c["type"] == "Established")) {
            break;
        }
    }
    let machines = "/apis/metal.bulkhead.io/v1alpha1/machines";
    let machine = json!({"apiVersion": "metal.bulkhead.io/v1alpha1", "kind": "Machine",
        "metadata": {"name": "m1"}, "spec": {"mac": "52:54:00:00:00:01"}, "status": {"state": "x"}});
    let (code, made) = cluster.post(machines, &machine).await;
    assert_eq!((code, made.get("status")), (201, None), "{made}");
    let headers = [("content-type", "application/merge-patch+json")];
    let patch = json!({"status": {"state": "Booting"}});
    let (code, _, patched) =
        cluster.json("PATCH", &format!("{machines}/m1/status"), &headers, &patch).await;
    assert_eq!((code, &patched["status"]["state"]), (200, &json!("Booting")), "{patched}");
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, _, table) = cluster.json("GET", machines, &accept, &Value::Null).await;
    assert_eq!(table["rows"][0]["cells"], json!(["m1", "Booting"]));
    assert_eq!(table["columnDefinitions"][1]["name"], "State");
    cluster.handle.shutdown().await;
}
