//! Definitions. Conformance: sig-api-machinery CustomResourceDefinition resources.

use serde_json::{Value, json};

use super::{
    DEFINITIONS, JSON_PATCH, MERGE, WIDGETS, definition, establish, message, until, widget,
};
use crate::common::{Cluster, Events};

#[tokio::test]
async fn crd_create_and_delete_removes_objects() {
    let cluster = Cluster::start().await;
    establish(&cluster, &definition("widgets", "Widget", &json!({"type": "object"}))).await;
    let (code, _) = cluster.post(WIDGETS, &widget("a", json!({}))).await;
    assert_eq!(code, 201);
    let mut held = widget("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(cluster.post(WIDGETS, &held).await.0, 201);
    let name = format!("{DEFINITIONS}/widgets.example.com");
    let (code, _, deleted) = cluster.json("DELETE", &name, &[], &Value::Null).await;
    assert_eq!(code, 200, "{deleted}");
    // One object is held by its own finalizer: the definition says so and waits.
    until(|| async {
        let (_, definition) = cluster.get(&name).await;
        definition["status"]["conditions"]
            .as_array()
            .is_some_and(|list| list.iter().any(|one| one["type"] == "Terminating"))
    })
    .await;
    until(|| async { cluster.get(&format!("{WIDGETS}/a")).await.0 == 404 }).await;
    until(|| async { cluster.post(WIDGETS, &widget("late", json!({}))).await.0 == 405 }).await;
    let (code, _, _) = cluster
        .json(
            "PATCH",
            &format!("{WIDGETS}/held"),
            MERGE,
            &json!({"metadata": {"finalizers": null}}),
        )
        .await;
    assert_eq!(code, 200);
    until(|| async { cluster.get(&name).await.0 == 404 }).await;
    until(|| async { cluster.get(WIDGETS).await.0 == 404 }).await;
}

#[tokio::test]
async fn crd_list_by_label_and_deletecollection() {
    let cluster = Cluster::start().await;
    for plural in ["ones", "twos"] {
        let mut one = definition(plural, &format!("K{plural}"), &json!({"type": "object"}));
        one["metadata"]["labels"] = json!({"set": "mine"});
        establish(&cluster, &one).await;
    }
    establish(&cluster, &definition("rests", "Rest", &json!({"type": "object"}))).await;
    let selected = format!("{DEFINITIONS}?labelSelector=set%3Dmine");
    let (_, list) = cluster.get(&selected).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let (code, _, _) = cluster.json("DELETE", &selected, &[], &Value::Null).await;
    assert_eq!(code, 200);
    until(|| async {
        cluster.get(&selected).await.1["items"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    assert_eq!(cluster.get(&format!("{DEFINITIONS}/rests.example.com")).await.0, 200);
}

#[tokio::test]
async fn crd_status_get_update_patch() {
    let cluster = Cluster::start().await;
    establish(&cluster, &definition("widgets", "Widget", &json!({"type": "object"}))).await;
    let path = format!("{DEFINITIONS}/widgets.example.com/status");
    let (code, mut status) = cluster.get(&path).await;
    assert_eq!(code, 200);
    let condition = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test",
        "lastTransitionTime": "2024-01-01T00:00:00Z"});
    status["status"]["conditions"].as_array_mut().unwrap().push(condition);
    let (code, _, updated) = cluster.json("PUT", &path, &[], &status).await;
    assert_eq!(code, 200, "{updated}");
    assert!(updated["status"]["conditions"].to_string().contains("StatusUpdate"));
    let patch = json!({"status": {"storedVersions": ["v1"]}, "spec": {"scope": "Cluster"}});
    let (code, _, patched) = cluster.json("PATCH", &path, MERGE, &patch).await;
    assert_eq!((code, &patched["status"]["storedVersions"]), (200, &json!(["v1"])));
    assert_eq!(patched["spec"]["scope"], "Namespaced", "a status request changes no spec");
    assert!(patched["status"]["conditions"].to_string().contains("StatusUpdate"), "{patched}");
}

#[tokio::test]
async fn crd_resources_are_in_discovery() {
    let cluster = Cluster::start().await;
    let (code, groups) = cluster.get("/apis").await;
    let own = |group: &&Value| group["name"] == "apiextensions.k8s.io";
    let group = groups["groups"].as_array().unwrap().iter().find(own).unwrap();
    let version = json!({"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"});
    assert_eq!((code, &group["versions"]), (200, &json!([version])));
    let (code, group) = cluster.get("/apis/apiextensions.k8s.io").await;
    assert_eq!((code, &group["versions"][0]), (200, &version));
    let (code, list) = cluster.get("/apis/apiextensions.k8s.io/v1").await;
    let resources = list["resources"].as_array().unwrap();
    let found = resources.iter().find(|one| one["name"] == "customresourcedefinitions").unwrap();
    assert_eq!((code, &found["kind"]), (200, &json!("CustomResourceDefinition")));
}

#[tokio::test]
async fn crd_watch_of_objects() {
    let cluster = Cluster::start().await;
    establish(&cluster, &definition("widgets", "Widget", &json!({"type": "object"}))).await;
    let mut events = Events::new(cluster.send("GET", &format!("{WIDGETS}?watch=1"), &[], "").await);
    assert_eq!(cluster.post(WIDGETS, &widget("a", json!({}))).await.0, 201);
    let patch = json!({"metadata": {"labels": {"l": "1"}}});
    cluster.json("PATCH", &format!("{WIDGETS}/a"), MERGE, &patch).await;
    cluster.json("DELETE", &format!("{WIDGETS}/a"), &[], &Value::Null).await;
    for expect in ["ADDED a", "MODIFIED a", "DELETED a"] {
        assert_eq!(events.brief().await, expect);
    }
}

#[tokio::test]
async fn crd_defaulting_for_requests_and_from_storage() {
    let cluster = Cluster::start().await;
    let spec = json!({"type": "object", "properties": {"a": {"type": "string", "default": "A"}, "b": {"type": "string"}}});
    establish(&cluster, &definition("widgets", "Widget", &spec)).await;
    let (code, created) = cluster.post(WIDGETS, &widget("w", json!({"b": "B", "gone": 1}))).await;
    assert_eq!((code, &created["spec"]), (201, &json!({"a": "A", "b": "B"})));
    // What is stored gets the default that comes later, and loses what is no longer known.
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let patch = json!([{"op": "add", "path": format!("{at}/c"), "value": {"type": "integer", "default": 3}},
        {"op": "remove", "path": format!("{at}/b")}]);
    let (code, _, patched) = cluster.json("PATCH", &path, JSON_PATCH, &patch).await;
    assert_eq!(code, 200, "{patched}");
    until(|| async {
        cluster.get(&format!("{WIDGETS}/w")).await.1["spec"] == json!({"a": "A", "c": 3})
    })
    .await;
    let (_, list) = cluster.get(WIDGETS).await;
    assert_eq!(list["items"][0]["spec"], json!({"a": "A", "c": 3}));
}

#[tokio::test]
async fn crd_selectable_fields_and_printer_columns() {
    let cluster = Cluster::start().await;
    let spec = json!({"type": "object", "properties": {"color": {"type": "string"}, "size": {"type": "integer"}}});
    let mut shown = definition("widgets", "Widget", &spec);
    shown["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.color"}]);
    shown["spec"]["versions"][0]["additionalPrinterColumns"] = json!([
        {"name": "Color", "type": "string", "jsonPath": ".spec.color", "description": "its color"},
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
    establish(&cluster, &shown).await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        cluster.post(WIDGETS, &widget(name, json!({"color": color, "size": 2}))).await;
    }
    let (_, list) = cluster.get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dblue")).await;
    assert_eq!(list["items"][0]["metadata"]["name"], "b");
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let (code, refused) = cluster.get(&format!("{WIDGETS}?fieldSelector=spec.size%3D2")).await;
    assert_eq!((code, message(&refused)), (400, "field label not supported: spec.size"));
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, _, table) = cluster.json("GET", WIDGETS, &accept, &Value::Null).await;
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["Name", "Color", "Size", "Age"]);
    assert_eq!(table["rows"][0]["cells"][1], "red");
    assert_eq!(table["columnDefinitions"][2]["priority"], 1);
}

#[tokio::test]
async fn crd_is_validated_when_written() {
    let cluster = Cluster::start().await;
    let mut bad = definition("widgets", "Widget", &json!({"type": "object"}));
    bad["spec"]["versions"][0]["storage"] = json!(false);
    let (code, status) = cluster.post(DEFINITIONS, &bad).await;
    assert_eq!(code, 422);
    assert!(
        message(&status).contains("must have exactly one version marked as storage version"),
        "{status}"
    );
    let rule = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.nope"}]});
    let (code, status) = cluster.post(DEFINITIONS, &definition("widgets", "Widget", &rule)).await;
    assert_eq!(code, 422);
    assert!(message(&status).contains("undefined field 'nope'"), "{status}");
    let good = definition("widgets", "Widget", &json!({"type": "object"}));
    establish(&cluster, &good).await;
    // Another definition of the same kind is not served.
    let (code, _) = cluster
        .post(DEFINITIONS, &definition("gadgets", "Widget", &json!({"type": "object"})))
        .await;
    assert_eq!(code, 201);
    let path = format!("{DEFINITIONS}/gadgets.example.com");
    until(|| async {
        cluster.get(&path).await.1["status"]["conditions"][0]["reason"] == "KindConflict"
    })
    .await;
    assert_eq!(cluster.get("/apis/example.com/v1/gadgets").await.0, 404);
}
