//! Objects of definitions: validation, unknown fields, subresources, apply. Conformance: sig-api-machinery FieldValidation.

use serde_json::{Value, json};

use super::{MERGE, WIDGETS, definition, establish, message, widget};
use crate::common::Cluster;

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

#[tokio::test]
async fn cr_unknown_fields_are_kept_without_a_schema() {
    let cluster = Cluster::start().await;
    let mut open = definition("widgets", "Widget", &Value::Null);
    open["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    establish(&cluster, &open).await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{WIDGETS}/w?fieldManager=t&fieldValidation=Strict");
    let mut body = widget("w", json!({"foo": "foo1", "cronSpec": "* * * * */5", "replicas": 1}));
    body["extra"] = json!({"deep": [1, {"x": "y"}]});
    let (code, headers, made) = cluster.json("PATCH", &path, &apply, &body).await;
    assert_eq!((code, headers.get("warning")), (201, None), "{made}");
    assert_eq!((&made["spec"], &made["extra"]), (&body["spec"], &body["extra"]));
    let (_, read) = cluster.get(&format!("{WIDGETS}/w")).await;
    assert_eq!((&read["spec"], &read["extra"]), (&body["spec"], &body["extra"]));
}

/// A definition whose `spec` has a list of ports and, perhaps, takes anything else.
async fn with_ports(open: bool) -> Cluster {
    let cluster = Cluster::start().await;
    let port = json!({"type": "object", "required": ["containerPort", "protocol"], "properties": {
        "containerPort": {"type": "integer"}, "hostIP": {"type": "string"}, "hostPort": {"type": "integer"},
        "name": {"type": "string"}, "protocol": {"type": "string"}}});
    let mut spec = json!({"type": "object", "properties": {"cronSpec": {"type": "string"},
        "ports": {"type": "array", "items": port, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["containerPort", "protocol"]}}});
    if open {
        spec["x-kubernetes-preserve-unknown-fields"] = json!(true);
    }
    establish(&cluster, &definition("widgets", "Widget", &spec)).await;
    cluster
}

#[tokio::test]
async fn cr_valid_objects_are_applied_and_extra_properties_refused() {
    let cluster = with_ports(false).await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{WIDGETS}/w?fieldManager=t&fieldValidation=Strict");
    let ports = json!([{"name": "x", "containerPort": 80, "protocol": "TCP"}]);
    let valid = widget("w", json!({"cronSpec": "* * * * */5", "ports": ports}));
    let (code, _, made) = cluster.json("PATCH", &path, &apply, &valid).await;
    assert_eq!((code, &made["spec"]["ports"]), (201, &ports), "{made}");
    let extra = widget("w", json!({"cronSpec": "* * * * */5", "foo": "bar", "ports": ports}));
    let (code, _, refused) = cluster.json("PATCH", &path, &apply, &extra).await;
    assert!((400..=500).contains(&code), "{refused}");
    assert!(message(&refused).contains(".spec.foo: field not declared in schema"), "{refused}");
    let other = widget("v", json!({"cronSpec": "x", "foo": "bar"}));
    let (code, refused) = cluster.post(&format!("{WIDGETS}?fieldValidation=Strict"), &other).await;
    assert_eq!(code, 400, "{refused}");
    assert!(message(&refused).contains("unknown field \"spec.foo\""), "{refused}");
}

#[tokio::test]
async fn cr_duplicate_fields_are_refused_where_unknown_ones_are_kept() {
    let cluster = with_ports(true).await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{WIDGETS}/w?fieldManager=t&fieldValidation=Strict");
    let text = "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: w\nspec:\n  unknown: uk1\n  cronSpec: a\n  cronSpec: b\n";
    let (code, _, refused) = cluster.json_text("PATCH", &path, &apply, text).await;
    assert_eq!(code, 400, "{refused}");
    assert!(message(&refused).contains("line 8: key \"cronSpec\" already set in map"), "{refused}");
    let duplicate = r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},
        "spec":{"unknown":"uk1","cronSpec":"a","ports":[{"name":"x","containerPort":80,"protocol":"TCP","hostPort":8081,"hostPort":8082}],"cronSpec":"b"}}"#;
    let post = format!("{WIDGETS}?fieldValidation=Strict");
    let (code, _, refused) = cluster.json_text("POST", &post, &[], duplicate).await;
    assert_eq!(code, 400, "{refused}");
    for field in ["duplicate field \"spec.ports[0].hostPort\"", "duplicate field \"spec.cronSpec\""]
    {
        assert!(message(&refused).contains(field), "{refused}");
    }
    let single = text.replace("  cronSpec: b\n", "");
    let (code, _, made) = cluster.json_text("PATCH", &path, &apply, &single).await;
    assert_eq!((code, &made["spec"]["unknown"]), (201, &json!("uk1")), "{made}");
}

#[tokio::test]
async fn cr_unknown_metadata_is_refused_at_the_root_and_in_embedded_objects() {
    let cluster = Cluster::start().await;
    let template = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}, "spec": {"type": "object"}}});
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"template": template}});
    establish(&cluster, &definition("widgets", "Widget", &spec)).await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let mut body = widget(
        "w",
        json!({"anything": 1, "template": {"apiVersion": "foo/v1", "kind": "Sub",
        "metadata": {"name": "s", "unknownSubMeta": "x"}}}),
    );
    body["metadata"]["unknownMeta"] = json!("x");
    // Whatever is asked for: nobody could be their manager.
    for validation in ["Strict", "Warn", "Ignore"] {
        let path = format!("{WIDGETS}/w?fieldManager=t&fieldValidation={validation}");
        let (code, _, refused) = cluster.json("PATCH", &path, &apply, &body).await;
        let expect = "failed to create typed patch object (default/w; example.com/v1, Kind=Widget): errors:\n  \
            .metadata.unknownMeta: field not declared in schema\n  \
            .spec.template.metadata.unknownSubMeta: field not declared in schema";
        assert_eq!((code, message(&refused)), (400, expect), "{validation}");
    }
    let post = format!("{WIDGETS}?fieldValidation=Strict");
    let (code, refused) = cluster.post(&post, &body).await;
    assert_eq!(code, 400, "{refused}");
    for field in ["metadata.unknownMeta", "spec.template.metadata.unknownSubMeta"] {
        assert!(message(&refused).contains(&format!("unknown field {field:?}")), "{refused}");
    }
}
