//! Conversion between versions. Conformance: sig-api-machinery CustomResourceConversionWebhook.

use std::{convert::Infallible, net::SocketAddr};

use access::pki;
use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{DEFINITIONS, JSON_PATCH, MERGE, established, until};
use crate::common::{Cluster, Events, backend::serve_tls};

/// A webhook that turns `hostPort` of v1 into `host` and `port` of v2, and back.
async fn webhook(cluster: &Cluster) -> SocketAddr {
    let mut tls = pki::server_tls_config(&cluster.handle.pki).unwrap();
    tls.alpn_protocols.clear();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve_tls(listener, tls, answer);
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    if review["kind"] == "AdmissionReview" {
        return Ok(Response::new(Full::new(Bytes::from(admit(&review).to_string()))));
    }
    let wanted = review["request"]["desiredAPIVersion"].as_str().unwrap();
    let objects = review["request"]["objects"].as_array().unwrap();
    let converted: Vec<Value> = objects.iter().map(|object| convert(object, wanted)).collect();
    let answer = json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": {
        "uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": converted}});
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}

/// A webhook that knows only v1: it moves `h:1` to `h:9`.
fn admit(review: &Value) -> Value {
    let patch = json!([{"op": "test", "path": "/hostPort", "value": "h:1"},
        {"op": "replace", "path": "/hostPort", "value": "h:9"}]);
    let patch = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {
        "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch}})
}

fn convert(object: &Value, wanted: &str) -> Value {
    let mut new = object.clone();
    new["apiVersion"] = json!(wanted);
    let fields = new.as_object_mut().unwrap();
    if wanted.ends_with("/v2") {
        let joined = fields.remove("hostPort").unwrap_or_default();
        let (host, port) = joined.as_str().unwrap_or_default().split_once(':').unwrap_or_default();
        fields.insert("host".into(), json!(host));
        fields.insert("port".into(), json!(port));
    } else {
        let text = |value: Option<Value>| {
            value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let (host, port) = (text(fields.remove("host")), text(fields.remove("port")));
        fields.insert("hostPort".into(), json!(format!("{host}:{port}")));
    }
    new
}

fn definition(conversion: Value) -> Value {
    let text = json!({"type": "string"});
    let version = |name: &str, storage: bool, properties: Value| {
        json!({"name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "hosts.stable.example.com"},
        "spec": {"group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "hosts", "kind": "Host"},
            "conversion": conversion, "versions": [
                version("v1", true, json!({"hostPort": text})),
                version("v2", false, json!({"host": text, "port": text}))]}})
}

fn path(version: &str) -> String {
    format!("/apis/stable.example.com/{version}/namespaces/default/hosts")
}

async fn serve(cluster: &Cluster, conversion: Value) {
    let (code, created) = cluster.post(DEFINITIONS, &definition(conversion)).await;
    assert_eq!(code, 201, "{created}");
    until(|| async { cluster.get(&path("v2")).await.0 == 200 }).await;
}

fn by_webhook(cluster: &Cluster, address: SocketAddr) -> Value {
    let ca = base64::engine::general_purpose::STANDARD.encode(cluster.handle.pki.ca_pem());
    json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://{address}/convert"), "caBundle": ca}}})
}

#[tokio::test]
async fn cr_conversion_by_webhook_v1_to_v2_and_lists() {
    let cluster = Cluster::start().await;
    let address = webhook(&cluster).await;
    serve(&cluster, by_webhook(&cluster, address)).await;
    let one = json!({"apiVersion": "stable.example.com/v1", "kind": "Host", "metadata": {"name": "a"}, "hostPort": "h:1"});
    let (code, created) = cluster.post(&path("v1"), &one).await;
    assert_eq!((code, &created["hostPort"]), (201, &json!("h:1")), "{created}");
    let (code, read) = cluster.get(&format!("{}/a", path("v2"))).await;
    assert_eq!((code, &read["host"], &read["port"]), (200, &json!("h"), &json!("1")), "{read}");
    assert_eq!(read["metadata"]["uid"], created["metadata"]["uid"]);
    let two = json!({"apiVersion": "stable.example.com/v2", "kind": "Host", "metadata": {"name": "b"}, "host": "i", "port": "2"});
    let (code, created) = cluster.post(&path("v2"), &two).await;
    assert_eq!((code, &created["host"]), (201, &json!("i")), "{created}");
    let (_, list) = cluster.get(&path("v1")).await;
    let shown: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|one| &one["hostPort"]).collect();
    assert_eq!(shown, ["h:1", "i:2"]);
    let (_, list) = cluster.get(&path("v2")).await;
    assert!(
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["apiVersion"] == "stable.example.com/v2")
    );
    let (code, _, patched) =
        cluster.json("PATCH", &format!("{}/a", path("v2")), MERGE, &json!({"port": "9"})).await;
    assert_eq!((code, &patched["port"]), (200, &json!("9")), "{patched}");
    assert_eq!(cluster.get(&format!("{}/a", path("v1"))).await.1["hostPort"], "h:9");
    let mut events =
        Events::new(cluster.send("GET", &format!("{}?watch=1", path("v2")), &[], "").await);
    let first = events.next().await.unwrap();
    assert_eq!(first["object"]["port"], "9", "{first}");
}

#[tokio::test]
async fn cr_conversion_webhook_failure_is_told() {
    let cluster = Cluster::start().await;
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    serve(&cluster, by_webhook(&cluster, nobody)).await;
    let one = json!({"apiVersion": "stable.example.com/v1", "kind": "Host", "metadata": {"name": "a"}, "hostPort": "h:1"});
    assert_eq!(cluster.post(&path("v1"), &one).await.0, 201);
    let (code, status) = cluster.get(&format!("{}/a", path("v2"))).await;
    assert_eq!(code, 500);
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("conversion webhook for stable.example.com/v1, Kind=Host failed: Post \"https://127.0.0.1:1/convert?timeout=30s\""), "{message}");
}

#[tokio::test]
async fn a_write_that_changes_nothing_stores_the_new_version() {
    let cluster = Cluster::start().await;
    let address = webhook(&cluster).await;
    serve(&cluster, by_webhook(&cluster, address)).await;
    let one = json!({"apiVersion": "stable.example.com/v1", "kind": "Host", "metadata": {"name": "a"}, "hostPort": "h:1"});
    let (code, created) = cluster.post(&path("v1"), &one).await;
    assert_eq!(code, 201, "{created}");
    let object = format!("{}/a", path("v1"));
    let none = json!({"metadata": {"uid": created["metadata"]["uid"]}});
    let (_, _, same) = cluster.json("PATCH", &object, MERGE, &none).await;
    assert_eq!(same, created, "it is stored as it should be");
    let flip = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    let name = format!("{DEFINITIONS}/hosts.stable.example.com");
    let (code, _, flipped) = cluster.json("PATCH", &name, JSON_PATCH, &flip).await;
    assert_eq!(code, 200, "{flipped}");
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    until(|| async {
        let (code, _, written) = cluster.json("PATCH", &object, MERGE, &none).await;
        assert_eq!((code, &written["hostPort"]), (200, &json!("h:1")), "{written}");
        version(&written) != version(&created)
    })
    .await;
    // Without the webhook only what is stored in a version can be read in it.
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let patch = json!({"spec": {"conversion": by_webhook(&cluster, nobody)}});
    cluster.json("PATCH", &name, MERGE, &patch).await;
    until(|| async { cluster.get(&object).await.0 == 500 }).await;
    let (code, read) = cluster.get(&format!("{}/a", path("v2"))).await;
    assert_eq!((code, &read["host"], &read["port"]), (200, &json!("h"), &json!("1")), "{read}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn cr_conversion_none_changes_only_the_version() {
    let cluster = Cluster::start().await;
    serve(&cluster, json!({"strategy": "None"})).await;
    let one = json!({"apiVersion": "stable.example.com/v2", "kind": "Host", "metadata": {"name": "a"}, "host": "h", "port": "1"});
    let (code, created) = cluster.post(&path("v2"), &one).await;
    assert_eq!((code, &created["host"]), (201, &json!("h")));
    let (_, read) = cluster.get(&format!("{}/a", path("v1"))).await;
    assert_eq!((&read["apiVersion"], read.get("host")), (&json!("stable.example.com/v1"), None));
    let (_, back) = cluster.get(&format!("{}/a", path("v2"))).await;
    assert_eq!(back["host"], "h");
}

const REGISTRATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

/// A webhook for objects of v1, and as such of all versions unless its `policy` says `Exact`.
fn v1_webhook(cluster: &Cluster, address: SocketAddr, policy: &str) -> Value {
    let client = by_webhook(cluster, address)["webhook"]["clientConfig"].clone();
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "v1"}, "webhooks": [{"name": "v1.example.com", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": client, "matchPolicy": policy,
            "rules": [{"operations": ["CREATE"], "apiGroups": ["stable.example.com"], "apiVersions": ["v1"], "resources": ["hosts"]}]}]})
}

fn host(name: &str, host: &str) -> Value {
    json!({"apiVersion": "stable.example.com/v2", "kind": "Host", "metadata": {"name": name}, "host": host, "port": "1"})
}

#[tokio::test]
async fn admission_webhooks_get_the_version_they_know() {
    let cluster = Cluster::start().await;
    let address = webhook(&cluster).await;
    serve(&cluster, by_webhook(&cluster, address)).await;
    let hooks = format!("{REGISTRATIONS}/mutatingwebhookconfigurations");
    let (code, made) = cluster.post(&hooks, &v1_webhook(&cluster, address, "Equivalent")).await;
    assert_eq!(code, 201, "{made}");
    let (code, made) = cluster.post(&path("v2"), &host("a", "h")).await;
    assert_eq!((code, &made["apiVersion"]), (201, &json!("stable.example.com/v2")), "{made}");
    assert_eq!((&made["host"], &made["port"]), (&json!("h"), &json!("9")));
    assert!(made.get("hostPort").is_none(), "{made}");
    let (code, refused) = cluster.post(&path("v2"), &host("b", "other")).await;
    assert_eq!(code, 500, "the patch tests the host in v1's terms: {refused}");
    cluster.json("DELETE", &format!("{hooks}/v1"), &[], &Value::Null).await;
    cluster.post(&hooks, &v1_webhook(&cluster, address, "Exact")).await;
    let (code, made) = cluster.post(&path("v2"), &host("c", "h")).await;
    assert_eq!((code, &made["port"]), (201, &json!("1")), "{made}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn policies_get_the_version_they_know() {
    let cluster = Cluster::start().await;
    let address = webhook(&cluster).await;
    serve(&cluster, by_webhook(&cluster, address)).await;
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["stable.example.com"],
                "apiVersions": ["v1"], "resources": ["hosts"]}]},
            "validations": [{"expression": "object.hostPort != 'bad:1'", "message": "not that one"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "p"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    for (resource, object) in
        [("validatingadmissionpolicies", &policy), ("validatingadmissionpolicybindings", &binding)]
    {
        let (code, made) = cluster.post(&format!("{REGISTRATIONS}/{resource}"), object).await;
        assert_eq!(code, 201, "{made}");
    }
    let (code, made) = cluster.post(&path("v2"), &host("a", "good")).await;
    assert_eq!(code, 201, "{made}");
    let (code, refused) = cluster.post(&path("v2"), &host("b", "bad")).await;
    assert_eq!(code, 422, "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(message.ends_with("denied request: not that one"), "{message}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_conversion_that_fails_on_the_way_to_admission_is_told() {
    let cluster = Cluster::start().await;
    let address = webhook(&cluster).await;
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    serve(&cluster, by_webhook(&cluster, nobody)).await;
    let hooks = format!("{REGISTRATIONS}/mutatingwebhookconfigurations");
    cluster.post(&hooks, &v1_webhook(&cluster, address, "Equivalent")).await;
    let (code, status) = cluster.post(&path("v2"), &host("a", "h")).await;
    assert_eq!(code, 500);
    let message = status["message"].as_str().unwrap();
    let expect = "Internal error occurred: conversion webhook for stable.example.com/v2, Kind=Host failed: Post ";
    assert!(message.starts_with(expect), "{message}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn cr_lists_of_several_stored_versions_are_converted() {
    let cluster = Cluster::start().await;
    let address = webhook(&cluster).await;
    serve(&cluster, by_webhook(&cluster, address)).await;
    let one = json!({"apiVersion": "stable.example.com/v1", "kind": "Host", "metadata": {"name": "a"}, "hostPort": "h:1"});
    assert_eq!(cluster.post(&path("v1"), &one).await.0, 201);
    // From now on objects are stored in the other version; the first stays as it was.
    let definition = format!("{DEFINITIONS}/hosts.stable.example.com");
    let turn = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    let (code, _, turned) = cluster.json("PATCH", &definition, JSON_PATCH, &turn).await;
    assert_eq!(code, 200, "{turned}");
    until(|| async {
        cluster.get(&definition).await.1["status"]["storedVersions"] == json!(["v1", "v2"])
    })
    .await;
    let two = json!({"apiVersion": "stable.example.com/v2", "kind": "Host", "metadata": {"name": "b"}, "host": "i", "port": "2"});
    assert_eq!(cluster.post(&path("v2"), &two).await.0, 201);
    let (_, list) = cluster.get(&path("v1")).await;
    let shown = |list: &Value, field: &str| -> Vec<Value> {
        list["items"].as_array().unwrap().iter().map(|one| one[field].clone()).collect()
    };
    assert_eq!(shown(&list, "hostPort"), ["h:1", "i:2"], "{list}");
    assert_eq!(shown(&list, "apiVersion"), ["stable.example.com/v1", "stable.example.com/v1"]);
    let (_, list) = cluster.get(&path("v2")).await;
    assert_eq!(shown(&list, "host"), ["h", "i"], "{list}");
    assert_eq!(shown(&list, "port"), ["1", "2"]);
    assert_eq!(shown(&list, "apiVersion"), ["stable.example.com/v2", "stable.example.com/v2"]);
}

#[tokio::test]
async fn cr_selectable_fields_are_those_of_the_asked_version() {
    let cluster = Cluster::start().await;
    let address = webhook(&cluster).await;
    let mut selectable = definition(by_webhook(&cluster, address));
    selectable["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".hostPort"}]);
    selectable["spec"]["versions"][1]["selectableFields"] =
        json!([{"jsonPath": ".host"}, {"jsonPath": ".port"}]);
    assert_eq!(cluster.post(DEFINITIONS, &selectable).await.0, 201);
    established(&cluster, "hosts.stable.example.com").await;
    until(|| async { cluster.get(&path("v2")).await.0 == 200 }).await;
    let by = |version: &str, selector: &str| format!("{}?fieldSelector={selector}", path(version));
    let mut ones = Events::new(
        cluster.send("GET", &format!("{}&watch=1", by("v1", "hostPort%3Dh:1")), &[], "").await,
    );
    let mut hosts = Events::new(
        cluster.send("GET", &format!("{}&watch=1", by("v2", "host%3Dh")), &[], "").await,
    );
    for (name, joined) in [("a", "h:1"), ("b", "i:1"), ("c", "h:2")] {
        let host = json!({"apiVersion": "stable.example.com/v1", "kind": "Host", "metadata": {"name": name}, "hostPort": joined});
        assert_eq!(cluster.post(&path("v1"), &host).await.0, 201);
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    for (version, selector, expect) in [
        ("v1", "hostPort%3Dh:1", vec!["a"]),
        ("v2", "host%3Dh", vec!["a", "c"]),
        ("v2", "host%3Dh,port%3D2", vec!["c"]),
        ("v2", "host!%3Dh", vec!["b"]),
        ("v2", "port%3D1,metadata.namespace%3Ddefault", vec!["a", "b"]),
    ] {
        let (code, list) = cluster.get(&by(version, selector)).await;
        assert_eq!(
            (code, names(&list)),
            (200, expect.into_iter().map(str::to_owned).collect()),
            "{version} {selector}"
        );
    }
    let (code, refused) = cluster.get(&by("v1", "host%3Dh")).await;
    assert_eq!(code, 400, "a field of the other version: {refused}");
    // What leaves a selector is deleted for its watchers, what comes is new.
    let moved = json!({"host": "i"});
    let (code, _, _) = cluster.json("PATCH", &format!("{}/c", path("v2")), MERGE, &moved).await;
    assert_eq!(code, 200);
    let (code, _, _) = cluster.json("DELETE", &by("v2", "host%3Dh"), &[], &json!(null)).await;
    assert_eq!(code, 200);
    for expect in ["ADDED a", "ADDED c", "DELETED c", "DELETED a"] {
        assert_eq!(hosts.brief().await, expect);
    }
    for expect in ["ADDED a", "DELETED a"] {
        assert_eq!(ones.brief().await, expect);
    }
    assert_eq!(names(&cluster.get(&path("v1")).await.1), ["b", "c"]);
}
