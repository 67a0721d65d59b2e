//! Custom resources in discovery and OpenAPI. Conformance: sig-api-machinery CustomResourcePublishOpenAPI, AggregatedDiscovery.

use serde_json::{Value, json};

use super::{DEFINITIONS, JSON_PATCH, until};
use crate::common::Cluster;

fn definition(group: &str, kind: &str, versions: &Value) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": versions}})
}

fn version(name: &str, storage: bool, schema: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}

async fn schema(cluster: &Cluster, path: &str, component: &str) -> Value {
    let (_, document) = cluster.get(&format!("/openapi/v3/apis/{path}")).await;
    document["components"]["schemas"][component].clone()
}

/// A definition in the older document, which kubectl and generators read; `None` where it has none.
async fn old_schema(cluster: &Cluster, name: &str) -> Option<Value> {
    let (code, mut document) = cluster.get("/openapi/v2").await;
    assert_eq!(code, 200);
    document["definitions"].as_object_mut().unwrap().remove(name)
}

/// Waits until both documents have a component, and returns its older form.
async fn published(cluster: &Cluster, path: &str, component: &str) -> Value {
    until(|| async { !schema(cluster, path, component).await.is_null() }).await;
    until(|| async { old_schema(cluster, component).await.is_some() }).await;
    old_schema(cluster, component).await.unwrap()
}

/// Waits until neither document has it.
async fn unpublished(cluster: &Cluster, path: &str, component: &str) {
    until(|| async { schema(cluster, path, component).await.is_null() }).await;
    until(|| async { old_schema(cluster, component).await.is_none() }).await;
}

/// What kube's client discovers of two groups: `version=plural:scope` for each version.
async fn discovered(cluster: &Cluster, groups: [&str; 2]) -> [String; 2] {
    let discovery = kube::Discovery::new(cluster.client().await).run_aggregated().await.unwrap();
    groups.map(|name| {
        let Some(group) = discovery.get(name) else { return String::new() };
        let shown = group.versions().flat_map(|version| {
            let resources = group.versioned_resources(version).into_iter();
            resources.map(move |(resource, can)| {
                format!("{version}={}:{:?}", resource.plural, can.scope)
            })
        });
        shown.collect::<Vec<_>>().join(" ")
    })
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
    let old = published(&cluster, "a.example.com/v1", "com.example.a.v1.Foo").await;
    let foo = schema(&cluster, "a.example.com/v1", "com.example.a.v1.Foo").await;
    for form in [&old, &foo] {
        assert_eq!(form["properties"]["spec"]["required"], json!(["bars"]), "{form}");
        assert_eq!(form["properties"]["spec"]["properties"]["bars"]["items"]["type"], "object");
        assert!(form["properties"]["metadata"].is_object(), "{form}");
    }
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
        let old = published(&cluster, path, component).await;
        let kind = &old["x-kubernetes-group-version-kind"][0];
        let (group, version) = path.split_once('/').unwrap();
        assert_eq!((&kind["group"], &kind["version"]), (&json!(group), &json!(version)), "{old}");
        assert!(component.ends_with(kind["kind"].as_str().unwrap()), "{old}");
    }
    let old = old_schema(&cluster, "com.example.a.v2.Foo").await.unwrap();
    assert!(old["properties"]["spec"].is_object(), "each version has its own schema: {old}");
    let old = old_schema(&cluster, "com.example.a.v1.Foo").await.unwrap();
    assert!(old["properties"].get("spec").is_none(), "{old}");
}

#[tokio::test]
async fn crd_publish_openapi_follows_changes() {
    let cluster = Cluster::start().await;
    let versions =
        json!([version("v1", true, json!({"type": "object"})), version("v2", false, described())]);
    cluster.post(DEFINITIONS, &definition("a.example.com", "Foo", &versions)).await;
    let before = published(&cluster, "a.example.com/v2", "com.example.a.v2.Foo").await;
    let other = published(&cluster, "a.example.com/v1", "com.example.a.v1.Foo").await;
    let path = format!("{DEFINITIONS}/foos.a.example.com");
    // Another name for a version.
    let rename = json!([{"op": "replace", "path": "/spec/versions/1/name", "value": "v3"}]);
    let (code, _, _) = cluster.json("PATCH", &path, JSON_PATCH, &rename).await;
    assert_eq!(code, 200);
    let renamed = published(&cluster, "a.example.com/v3", "com.example.a.v3.Foo").await;
    assert_eq!(renamed["properties"]["spec"], before["properties"]["spec"]);
    unpublished(&cluster, "a.example.com/v2", "com.example.a.v2.Foo").await;
    assert_eq!(cluster.get("/openapi/v3/apis/a.example.com/v2").await.0, 404);
    // A version that is no longer served.
    let stop = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    let (code, _, _) = cluster.json("PATCH", &path, JSON_PATCH, &stop).await;
    assert_eq!(code, 200);
    until(|| async { cluster.get("/openapi/v3/apis/a.example.com/v3").await.0 == 404 }).await;
    unpublished(&cluster, "a.example.com/v3", "com.example.a.v3.Foo").await;
    assert_eq!(old_schema(&cluster, "com.example.a.v1.Foo").await, Some(other), "still served");
    // Another schema under the same name changes the document's hash.
    let hash = |index: &Value| index["paths"]["apis/a.example.com/v1"]["serverRelativeURL"].clone();
    let before = hash(&cluster.get("/openapi/v3").await.1);
    let describe = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "new"}]);
    cluster.json("PATCH", &path, JSON_PATCH, &describe).await;
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
    let old = published(&cluster, "a.example.com/v1", "com.example.a.v1.Bar").await;
    // A client that validates with this document must find nothing that it could refuse.
    let inner = &old["properties"]["spec"];
    assert_eq!((inner.get("properties"), inner.get("additionalProperties")), (None, None), "{old}");
    let old = published(&cluster, "a.example.com/v1", "com.example.a.v1.Foo").await;
    assert_eq!(old.get("properties"), None, "{old}");
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
    assert_eq!(
        (&resource["scope"], &group["versions"][0]["freshness"]),
        (&json!("Namespaced"), &json!("Current"))
    );
    // A second version and another group join them; what is deleted leaves.
    let mut other = definition(
        "b.example.com",
        "Bar",
        &json!([version("v1", true, json!({"type": "object"})), version("v2", false, described())]),
    );
    other["spec"]["scope"] = json!("Cluster");
    assert_eq!(cluster.post(DEFINITIONS, &other).await.0, 201);
    let groups = ["a.example.com", "b.example.com"];
    let all = ["v1=foos:Namespaced", "v2=bars:Cluster v1=bars:Cluster"].map(str::to_owned);
    until(|| async { discovered(&cluster, groups).await == all }).await;
    let path = format!("{DEFINITIONS}/foos.a.example.com");
    assert_eq!(cluster.json("DELETE", &path, &[], &Value::Null).await.0, 200);
    until(|| async { discovered(&cluster, groups).await == [String::new(), all[1].clone()] }).await;
}
