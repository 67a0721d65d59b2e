//! Custom resources in discovery and OpenAPI. Conformance: sig-api-machinery CustomResourcePublishOpenAPI, AggregatedDiscovery.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use common::Cluster;
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition(group: &str, kind: &str, versions: &Value) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": versions}})
}

fn version(name: &str, storage: bool, schema: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}

async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let all = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), all)
        .await
        .expect("within ten seconds");
}

async fn schema(cluster: &Cluster, path: &str, component: &str) -> Value {
    let (_, document) = cluster.get(&format!("/openapi/v3/apis/{path}")).await;
    document["components"]["schemas"][component].clone()
}

fn described() -> Value {
    json!({"type": "object", "description": "Foo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "required": ["bars"], "properties": {
            "bars": {"type": "array", "description": "List of Bars and their specs.",
                "items": {"type": "object", "properties": {"name": {"type": "string", "description": "Name of Bar."}}}}}}}})
}

#[tokio::test]
async fn crd_publish_openapi_with_validation_schema() {
    let cluster = Cluster::start().await;
    cluster
        .post(
            DEFINITIONS,
            &definition("a.example.com", "Foo", &json!([version("v1", true, described())])),
        )
        .await;
    until(|| async {
        !schema(&cluster, "a.example.com/v1", "com.example.a.v1.Foo").await.is_null()
    })
    .await;
    let foo = schema(&cluster, "a.example.com/v1", "com.example.a.v1.Foo").await;
    assert_eq!(foo["description"], "Foo CRD for Testing");
    assert_eq!(
        foo["properties"]["spec"]["properties"]["bars"]["description"],
        "List of Bars and their specs."
    );
    assert_eq!(
        foo["x-kubernetes-group-version-kind"],
        json!([{"group": "a.example.com", "version": "v1", "kind": "Foo"}])
    );
}

#[tokio::test]
async fn crd_publish_openapi_multiple_groups_kinds_and_versions() {
    let cluster = Cluster::start().await;
    let plain = || json!({"type": "object"});
    cluster
        .post(
            DEFINITIONS,
            &definition(
                "a.example.com",
                "Foo",
                &json!([version("v1", true, plain()), version("v2", false, described())]),
            ),
        )
        .await;
    cluster
        .post(
            DEFINITIONS,
            &definition("a.example.com", "Bar", &json!([version("v1", true, plain())])),
        )
        .await;
    cluster
        .post(
            DEFINITIONS,
            &definition("b.example.com", "Foo", &json!([version("v1", true, plain())])),
        )
        .await;
    for (path, component) in [
        ("a.example.com/v1", "com.example.a.v1.Foo"),
        ("a.example.com/v2", "com.example.a.v2.Foo"),
        ("a.example.com/v1", "com.example.a.v1.Bar"),
        ("b.example.com/v1", "com.example.b.v1.Foo"),
    ] {
        until(|| async { !schema(&cluster, path, component).await.is_null() }).await;
    }
}

#[tokio::test]
async fn crd_publish_openapi_follows_changes() {
    let cluster = Cluster::start().await;
    let versions =
        json!([version("v1", true, json!({"type": "object"})), version("v2", false, described())]);
    cluster.post(DEFINITIONS, &definition("a.example.com", "Foo", &versions)).await;
    until(|| async {
        !schema(&cluster, "a.example.com/v2", "com.example.a.v2.Foo").await.is_null()
    })
    .await;
    let path = format!("{DEFINITIONS}/foos.a.example.com");
    let patch = [("content-type", "application/json-patch+json")];
    // Another name for a version.
    let rename = json!([{"op": "replace", "path": "/spec/versions/1/name", "value": "v3"}]);
    let (code, _, _) = cluster.json("PATCH", &path, &patch, &rename).await;
    assert_eq!(code, 200);
    until(|| async {
        !schema(&cluster, "a.example.com/v3", "com.example.a.v3.Foo").await.is_null()
    })
    .await;
    assert_eq!(cluster.get("/openapi/v3/apis/a.example.com/v2").await.0, 404);
    // A version that is no longer served.
    let stop = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    let (code, _, _) = cluster.json("PATCH", &path, &patch, &stop).await;
    assert_eq!(code, 200);
    until(|| async { cluster.get("/openapi/v3/apis/a.example.com/v3").await.0 == 404 }).await;
    // Another schema under the same name changes the document's hash.
    let hash = |index: &Value| index["paths"]["apis/a.example.com/v1"]["serverRelativeURL"].clone();
    let before = hash(&cluster.get("/openapi/v3").await.1);
    let describe = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "new"}]);
    cluster.json("PATCH", &path, &patch, &describe).await;
    until(|| async { hash(&cluster.get("/openapi/v3").await.1) != before }).await;
    assert_eq!(
        schema(&cluster, "a.example.com/v1", "com.example.a.v1.Foo").await["description"],
        "new"
    );
}

#[tokio::test]
async fn crd_publish_openapi_preserve_unknown_fields() {
    let cluster = Cluster::start().await;
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let nested = json!({"type": "object", "properties": {"spec": open}});
    cluster
        .post(
            DEFINITIONS,
            &definition("a.example.com", "Foo", &json!([version("v1", true, open.clone())])),
        )
        .await;
    cluster
        .post(
            DEFINITIONS,
            &definition("a.example.com", "Bar", &json!([version("v1", true, nested)])),
        )
        .await;
    until(|| async {
        !schema(&cluster, "a.example.com/v1", "com.example.a.v1.Bar").await.is_null()
    })
    .await;
    let foo = schema(&cluster, "a.example.com/v1", "com.example.a.v1.Foo").await;
    assert_eq!(foo["x-kubernetes-preserve-unknown-fields"], true);
    let (code, created) = cluster
        .post("/apis/a.example.com/v1/namespaces/default/foos?fieldValidation=Strict",
            &json!({"apiVersion": "a.example.com/v1", "kind": "Foo", "metadata": {"name": "x"}, "anything": {"goes": 1}}))
        .await;
    assert_eq!((code, &created["anything"]), (201, &json!({"goes": 1})));
}

#[tokio::test]
async fn crd_in_discovery_documents() {
    let cluster = Cluster::start().await;
    let mut one = definition(
        "a.example.com",
        "Foo",
        &json!([version("v1", true, json!({"type": "object"}))]),
    );
    one["spec"]["names"]["shortNames"] = json!(["fo"]);
    one["spec"]["names"]["categories"] = json!(["all"]);
    cluster.post(DEFINITIONS, &one).await;
    until(|| async { cluster.get("/apis/a.example.com/v1").await.0 == 200 }).await;
    let (_, list) = cluster.get("/apis/a.example.com/v1").await;
    let row = &list["resources"][0];
    assert_eq!(
        (&row["name"], &row["kind"], &row["shortNames"]),
        (&json!("foos"), &json!("Foo"), &json!(["fo"]))
    );
    let (_, groups) = cluster.get("/apis").await;
    assert!(groups.to_string().contains("a.example.com"));
    let accept =
        [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let (_, _, aggregated) = cluster.json("GET", "/apis", &accept, &Value::Null).await;
    let group = aggregated["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["metadata"]["name"] == "a.example.com")
        .unwrap();
    let resource = &group["versions"][0]["resources"][0];
    assert_eq!(
        (&resource["resource"], &resource["responseKind"]["kind"]),
        (&json!("foos"), &json!("Foo"))
    );
    // The definitions' own resource is in discovery too.
    assert!(
        cluster
            .get("/apis/apiextensions.k8s.io/v1")
            .await
            .1
            .to_string()
            .contains("customresourcedefinitions")
    );
}
