//! CustomResourceDefinitions and their objects over the wire. Conformance: sig-api-machinery CustomResource*.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use common::{Cluster, Events};
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MERGE: &[(&str, &str)] = &[("content-type", "application/merge-patch+json")];
const JSON_PATCH: &[(&str, &str)] = &[("content-type", "application/json-patch+json")];

/// A definition of `plural` with one version and this schema of `spec`.
fn definition(plural: &str, kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[..plural.len() - 1], "kind": kind, "shortNames": [format!("{}x", &plural[..1])]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
                "subresources": {"status": {}}}]}})
}

/// Creates a definition and waits until its objects are served.
async fn establish(cluster: &Cluster, definition: &Value) {
    let (code, created) = cluster.post(DEFINITIONS, definition).await;
    assert_eq!(code, 201, "{created}");
    let name = definition["metadata"]["name"].as_str().unwrap();
    established(cluster, name).await;
    let spec = &definition["spec"];
    for version in spec["versions"].as_array().unwrap().iter().filter(|one| one["served"] == true) {
        let path = format!(
            "/apis/{}/{}/{}",
            spec["group"].as_str().unwrap(),
            version["name"].as_str().unwrap(),
            spec["names"]["plural"].as_str().unwrap()
        );
        until(|| async { cluster.get(&path).await.0 == 200 }).await;
    }
}

async fn established(cluster: &Cluster, name: &str) {
    let path =
        format!("{DEFINITIONS}?watch=1&fieldSelector=metadata.name%3D{name}&timeoutSeconds=9");
    let mut events = Events::new(cluster.send("GET", &path, &[], "").await);
    loop {
        let event = events.next().await.expect("established before the watch ends");
        let conditions =
            event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True") {
            return;
        }
    }
}

/// Asks again until it holds; ten seconds at most.
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

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}

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
    let selected = format!("{DEFINITIONS}?labelSelector=set%3Dmine");
    let (_, list) = cluster.get(&selected).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let (code, _, _) = cluster.json("DELETE", &selected, &[], &Value::Null).await;
    assert_eq!(code, 200);
    until(|| async {
        cluster.get(&selected).await.1["items"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
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
    let patch = json!({"status": {"storedVersions": ["v1"]}});
    let (code, _, patched) = cluster.json("PATCH", &path, MERGE, &patch).await;
    assert_eq!((code, &patched["status"]["storedVersions"]), (200, &json!(["v1"])));
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
async fn cr_values_are_validated_in_upstreams_words() {
    let cluster = Cluster::start().await;
    let spec = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
            "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "v": {"type": "integer"}}}}},
        "x-kubernetes-validations": [
            {"rule": "!has(self.items) || self.size >= self.items.size()", "messageExpression": "'at most %d'.format([self.size])"},
            {"rule": "self.size >= oldSelf.size", "message": "may not shrink"}]});
    establish(&cluster, &definition("widgets", "Widget", &spec)).await;
    for (spec, expect) in [
        (json!({}), "Widget.example.com \"w\" is invalid: spec.size: Required value"),
        (
            json!({"size": "x"}),
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
        ),
        (
            json!({"size": 0}),
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            json!({"size": 1, "color": "green"}),
            "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
        ),
        (
            json!({"size": 1, "name": "A"}),
            "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'",
        ),
        (
            json!({"size": 2, "items": [{"id": "a"}, {"id": "a"}]}),
            "spec.items[1]: Duplicate value: {\"id\":\"a\"}",
        ),
        (
            json!({"size": 1, "items": [{"id": "a"}, {"id": "b"}]}),
            "spec: Invalid value: \"object\": at most 1",
        ),
    ] {
        let (code, status) = cluster.post(WIDGETS, &widget("w", spec.clone())).await;
        assert_eq!(code, 422, "{spec} {status}");
        assert!(message(&status).contains(expect), "want {expect}\nfound {}", message(&status));
    }
    assert_eq!(cluster.post(WIDGETS, &widget("w", json!({"size": 3}))).await.0, 201);
    let path = format!("{WIDGETS}/w");
    let (code, _, status) =
        cluster.json("PATCH", &path, MERGE, &json!({"spec": {"size": 2}})).await;
    assert_eq!(code, 422);
    assert!(
        message(&status).contains("spec: Invalid value: \"object\": may not shrink"),
        "{status}"
    );
    assert_eq!(status["details"]["causes"][0]["field"], "spec");
}

#[tokio::test]
async fn cr_status_generation_and_scale() {
    let cluster = Cluster::start().await;
    let mut with_scale = definition(
        "widgets",
        "Widget",
        &json!({"type": "object", "properties": {"n": {"type": "integer"}}}),
    );
    with_scale["spec"]["versions"][0]["subresources"]["scale"] = json!({"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.selector"});
    establish(&cluster, &with_scale).await;
    let mut first = widget("w", json!({"n": 1}));
    first["status"] = json!({"n": 9});
    let (_, created) = cluster.post(WIDGETS, &first).await;
    assert_eq!((created.get("status"), &created["metadata"]["generation"]), (None, &json!(1)));
    let path = format!("{WIDGETS}/w");
    let patch = json!({"status": {"n": 1, "selector": "a=b"}, "spec": {"n": 7}});
    let (code, _, patched) = cluster.json("PATCH", &format!("{path}/status"), MERGE, &patch).await;
    assert_eq!((code, &patched["spec"]["n"], &patched["status"]["n"]), (200, &json!(1), &json!(1)));
    assert_eq!(patched["metadata"]["generation"], 1);
    let (code, scale) = cluster.get(&format!("{path}/scale")).await;
    assert_eq!(code, 200, "{scale}");
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]),
        (&json!(1), &json!({"replicas": 1, "selector": "a=b"}))
    );
    let (code, _, scaled) = cluster
        .json("PATCH", &format!("{path}/scale"), MERGE, &json!({"spec": {"replicas": 4}}))
        .await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(4)));
    let (_, after) = cluster.get(&path).await;
    assert_eq!((&after["spec"]["n"], &after["metadata"]["generation"]), (&json!(4), &json!(2)));
    let (_, _, labelled) =
        cluster.json("PATCH", &path, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled["metadata"]["generation"], 2);
}

#[tokio::test]
async fn cr_field_validation_unknown_and_duplicate_fields() {
    let cluster = Cluster::start().await;
    let spec = json!({"type": "object", "properties": {"known": {"type": "string"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}});
    establish(&cluster, &definition("widgets", "Widget", &spec)).await;
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let (code, status) = cluster.post(&strict, &widget("w", json!({"foo": 1, "known": "a"}))).await;
    assert_eq!(code, 400);
    assert!(
        message(&status).ends_with("strict decoding error: unknown field \"spec.foo\""),
        "{status}"
    );
    let duplicate = r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"open":{"a":1,"a":2}}}"#;
    let response =
        cluster.send("POST", &strict, &[("content-type", "application/json")], duplicate).await;
    assert_eq!(response.status(), 400);
    let yaml = "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: w\nspec:\n  open:\n    foo: 1\n    foo: 2\n";
    let apply = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{WIDGETS}/w?fieldManager=t&fieldValidation=Strict");
    let (code, _, status) = cluster.json_text("PATCH", &path, &apply, yaml).await;
    assert_eq!(code, 400);
    assert!(message(&status).contains("line 8: key \"foo\" already set in map"), "{status}");
    let metadata = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "odd": 1},
        "spec": {"embedded": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "e", "strange": 1}}}});
    let (code, status) = cluster.post(&strict, &metadata).await;
    assert_eq!(code, 400);
    for field in
        ["unknown field \"metadata.odd\"", "unknown field \"spec.embedded.metadata.strange\""]
    {
        assert!(message(&status).contains(field), "{status}");
    }
    assert_eq!(
        cluster.post(&strict, &widget("good", json!({"known": "a", "open": {"any": 1}}))).await.0,
        201
    );
    let body = widget("warned", json!({"foo": 1}));
    let (code, headers, created) =
        cluster.json("POST", &format!("{WIDGETS}?fieldValidation=Warn"), &[], &body).await;
    assert_eq!((code, &created["spec"]), (201, &json!({})));
    assert!(headers["warning"].to_str().unwrap().contains("unknown field"), "{headers:?}");
    let (code, headers, _) = cluster
        .json(
            "POST",
            &format!("{WIDGETS}?fieldValidation=Ignore"),
            &[],
            &widget("quiet", json!({"foo": 1})),
        )
        .await;
    assert_eq!((code, headers.get("warning")), (201, None));
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

#[tokio::test]
async fn cr_server_side_apply_merges_keyed_lists() {
    let cluster = Cluster::start().await;
    let spec = json!({"type": "object", "properties": {"items": {"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["id"],
        "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "v": {"type": "integer"}}}}}});
    establish(&cluster, &definition("widgets", "Widget", &spec)).await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    for (manager, id, code) in [("one", "a", 201), ("two", "b", 200)] {
        let body = widget("w", json!({"items": [{"id": id, "v": 1}]}));
        let path = format!("{WIDGETS}/w?fieldManager={manager}");
        let (found, _, object) = cluster.json("PATCH", &path, &apply, &body).await;
        assert_eq!(found, code, "{object}");
    }
    let (_, object) = cluster.get(&format!("{WIDGETS}/w")).await;
    assert_eq!(object["spec"]["items"].as_array().unwrap().len(), 2);
    let body = widget("w", json!({"items": [{"id": "a", "v": 2}]}));
    let (code, _, status) =
        cluster.json("PATCH", &format!("{WIDGETS}/w?fieldManager=two"), &apply, &body).await;
    assert_eq!((code, status["reason"].as_str()), (409, Some("Conflict")));
}
