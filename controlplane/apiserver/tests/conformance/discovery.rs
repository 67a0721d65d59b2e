//! Discovery, OpenAPI and the forms of answers.

use serde_json::{Value, json};

use super::{MAPS, map, text};
use crate::common::{Cluster, Events};

#[tokio::test]
async fn every_group_lists_its_resources_and_prefers_a_version() {
    let cluster = Cluster::start().await;
    let (_, groups) = cluster.get("/apis").await;
    let groups = groups["groups"].as_array().unwrap();
    assert!(groups.len() >= 19, "{} groups", groups.len());
    for group in groups {
        let preferred = text(group, "/preferredVersion/groupVersion");
        let versions = group["versions"].as_array().unwrap();
        assert!(versions.iter().any(|version| version["groupVersion"] == preferred), "{group}");
        let (code, own) = cluster.get(&format!("/apis/{}", text(group, "/name"))).await;
        assert_eq!((code, text(&own, "/preferredVersion/groupVersion")), (200, preferred));
        for version in versions {
            let name = text(version, "/groupVersion");
            let (code, list) = cluster.get(&format!("/apis/{name}")).await;
            assert_eq!((code, text(&list, "/groupVersion")), (200, name));
            assert!(!list["resources"].as_array().unwrap().is_empty(), "{name}");
        }
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn openapi_has_descriptions_in_both_versions() {
    let cluster = Cluster::start().await;
    let (code, headers, v2) = cluster.json("GET", "/openapi/v2", &[], &Value::Null).await;
    assert_eq!(code, 200);
    let pod = &v2["definitions"]["io.k8s.api.core.v1.Pod"];
    assert!(text(pod, "/description").starts_with("Pod is a collection"), "{pod}");
    assert_eq!(text(pod, "/properties/spec/$ref"), "#/definitions/io.k8s.api.core.v1.PodSpec");
    assert!(
        v2["paths"]["/api/v1/namespaces/{namespace}/pods"]["post"]["parameters"][0]["schema"]
            .is_object()
    );
    let etag = headers["etag"].to_str().unwrap();
    let again = [("if-none-match", etag)];
    assert_eq!(cluster.json("GET", "/openapi/v2", &again, &Value::Null).await.0, 304);
    let protobuf = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let response = cluster.send("GET", "/openapi/v2", &protobuf, "").await;
    assert_eq!(response.headers()["content-type"], protobuf[0].1);
    let (_, v3) = cluster.get("/openapi/v3/apis/apps/v1").await;
    let scale =
        &v3["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(text(scale, "/x-kubernetes-group-version-kind/kind"), "Scale");
    let schemas = v3["components"]["schemas"].as_object().unwrap();
    let mut references = Vec::new();
    collect_references(&v3, &mut references);
    for reference in references {
        let name = reference.trim_start_matches("#/components/schemas/");
        assert!(schemas.contains_key(name), "{reference} is not there");
    }
    cluster.handle.shutdown().await;
}

fn collect_references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|inner| collect_references(inner, found));
        }
        Value::Array(list) => list.iter().for_each(|inner| collect_references(inner, found)),
        _ => {}
    }
}
#[tokio::test]
async fn forms_of_answers_are_negotiated() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a", "x")).await;
    let path = format!("{MAPS}/a");
    for (accept, code, media) in [
        ("application/json", 200, "application/json"),
        ("application/yaml", 200, "application/yaml"),
        ("application/vnd.kubernetes.protobuf", 200, "application/vnd.kubernetes.protobuf"),
        ("application/cbor", 406, "application/json"),
        ("application/cbor,application/json", 200, "application/json"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", 200, "application/json"),
        ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", 200, "application/json"),
        ("text/html", 406, "application/json"),
    ] {
        let response = cluster.send("GET", &path, &[("accept", accept)], "").await;
        let shown = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(
            (response.status().as_u16(), shown.split(';').next().unwrap()),
            (code, media),
            "{accept}"
        );
    }
    let (code, _, refused) =
        cluster.json("POST", MAPS, &[("content-type", "application/cbor")], &map("b", "x")).await;
    assert_eq!((code, text(&refused, "/reason")), (415, "UnsupportedMediaType"));
    let (code, _, _) =
        cluster.json("PATCH", &path, &[("content-type", "text/plain")], &json!({})).await;
    assert_eq!(code, 415);
    let partial = [("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")];
    let watch = format!("{MAPS}?watch=true&labelSelector=l");
    let mut events = Events::new(cluster.send("GET", &watch, &partial, "").await);
    let event = events.next().await.unwrap();
    assert_eq!(
        (text(&event["object"], "/kind"), event["object"].get("data")),
        ("PartialObjectMetadata", None)
    );
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut events = Events::new(
        cluster.send("GET", &format!("{watch}&includeObject=Object"), &table, "").await,
    );
    let event = events.next().await.unwrap();
    assert_eq!(text(&event["object"], "/rows/0/object/data/k"), "v", "{event}");
    let (_, _, none) =
        cluster.json("GET", &format!("{MAPS}?includeObject=None"), &table, &Value::Null).await;
    assert!(none["rows"][0].get("object").is_none_or(Value::is_null), "{none}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn what_has_no_metadata_has_no_table() {
    let cluster = Cluster::start().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "list", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for form in ["Table", "PartialObjectMetadata"] {
        let accept = format!("application/json;as={form};v=v1;g=meta.k8s.io");
        let headers = [("accept", accept.as_str())];
        let (code, _, refused) = cluster.json("POST", path, &headers, &review).await;
        assert_eq!((code, text(&refused, "/reason")), (406, "NotAcceptable"), "{form}: {refused}");
        // Who also takes the object gets it.
        let both = format!("{accept},application/json");
        let (code, _, said) =
            cluster.json("POST", path, &[("accept", both.as_str())], &review).await;
        assert_eq!((code, &said["status"]["allowed"]), (201, &json!(true)), "{said}");
    }
    cluster.handle.shutdown().await;
}
