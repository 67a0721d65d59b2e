//! What writes may and may not do.

use serde_json::{Value, json};

use super::{MAPS, MERGE, map, text};
use crate::common::Cluster;

#[tokio::test]
async fn unknown_and_duplicate_fields_are_found() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let body = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","unknownMeta":1},
        "spec":{"replicas":1,"replicas":2,"unknown1":"v","selector":{"matchLabels":{"a":"b"}},
        "template":{"metadata":{"labels":{"a":"b"},"nested":1},"spec":{"containers":[{"name":"c","image":"i","unknownNested":"v"}]}}}}"#;
    let expected = [
        "spec.replicas",
        "spec.unknown1",
        "spec.template.spec.containers[0].unknownNested",
        "metadata.unknownMeta",
        "spec.template.metadata.nested",
    ];
    let response =
        cluster.json_text("POST", &format!("{path}?fieldValidation=Strict"), &[], body).await;
    assert_eq!(response.0, 400);
    for part in expected {
        assert!(
            text(&response.2, "/message").contains(&format!("{part}\"")),
            "{part}: {}",
            response.2
        );
    }
    let (code, headers, _) =
        cluster.json_text("POST", &format!("{path}?fieldValidation=Warn"), &[], body).await;
    let warnings: Vec<&str> =
        headers.get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    assert_eq!(code, 201);
    for part in expected {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    }
    let ignored = body.replace("\"name\":\"d\"", "\"name\":\"e\"");
    let (code, headers, made) =
        cluster.json_text("POST", &format!("{path}?fieldValidation=Ignore"), &[], &ignored).await;
    assert_eq!((code, headers.get("warning").is_none()), (201, true));
    assert_eq!(made["spec"]["replicas"], 2, "the last of two fields counts");
    let patch = r#"{"spec":{"unknown2":"v"}}"#;
    let (code, _, error) = cluster
        .json_text("PATCH", &format!("{path}/d?fieldValidation=Strict"), &[MERGE], patch)
        .await;
    assert_eq!(code, 400, "{error}");
    assert!(text(&error, "/message").contains("unknown field \"spec.unknown2\""), "{error}");
    let apply = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {foo: 1}\n";
    let headers = [("content-type", "application/apply-patch+yaml")];
    let (code, _, error) = cluster
        .json_text(
            "PATCH",
            &format!("{path}/d?fieldValidation=Strict&fieldManager=m"),
            &headers,
            apply,
        )
        .await;
    assert_ne!(code, 200, "{error}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn namespaces_change_and_are_finalized() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    let (code, made) = cluster.post(path, &namespace).await;
    assert_eq!(
        (code, text(&made, "/status/phase"), &made["spec"]["finalizers"]),
        (201, "Active", &json!(["kubernetes"]))
    );
    assert_eq!(text(&made, "/metadata/labels/kubernetes.io~1metadata.name"), "n");
    let patch = json!({"metadata": {"labels": {"testLabel": "testValue"}}});
    assert_eq!(
        cluster.json("PATCH", "/api/v1/namespaces/n", &[MERGE], &patch).await.2["metadata"]["labels"]
            ["testLabel"],
        "testValue"
    );
    let condition = json!({"status": {"conditions": [{"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "m"}]}});
    let (code, _, patched) =
        cluster.json("PATCH", "/api/v1/namespaces/n/status", &[MERGE], &condition).await;
    assert_eq!(
        (code, text(&patched, "/status/conditions/0/type")),
        (200, "StatusPatch"),
        "{patched}"
    );
    let mut updated = patched.clone();
    updated["metadata"]["labels"]["updated"] = json!("yes");
    let (code, _, updated) = cluster.json("PUT", "/api/v1/namespaces/n", &[], &updated).await;
    assert_eq!((code, text(&updated, "/metadata/labels/updated")), (200, "yes"));
    let mut finalize = updated.clone();
    finalize["spec"]["finalizers"] = json!(["kubernetes", "e2e.example.com/f"]);
    let (code, _, finalized) =
        cluster.json("PUT", "/api/v1/namespaces/n/finalize", &[], &finalize).await;
    assert_eq!(
        (code, finalized["spec"]["finalizers"].as_array().unwrap().len()),
        (200, 2),
        "{finalized}"
    );
    cluster.json("DELETE", "/api/v1/namespaces/n", &[], &Value::Null).await;
    let (code, gone) = cluster.get("/api/v1/namespaces/n").await;
    assert_eq!((code, text(&gone, "/status/phase")), (200, "Terminating"));
    let (code, refused) = cluster.post("/api/v1/namespaces/n/configmaps", &map("late", "x")).await;
    assert_eq!(
        (code, text(&refused, "/details/causes/0/reason")),
        (403, "NamespaceTerminating"),
        "{refused}"
    );
    let mut last = gone.clone();
    last["spec"]["finalizers"] = json!([]);
    assert_eq!(cluster.json("PUT", "/api/v1/namespaces/n/finalize", &[], &last).await.0, 200);
    assert_eq!(cluster.get("/api/v1/namespaces/n").await.0, 404);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn keys_and_immutable_data_are_checked() {
    let cluster = Cluster::start().await;
    for (plural, kind, value) in [("configmaps", "ConfigMap", "v"), ("secrets", "Secret", "dg==")] {
        let path = format!("/api/v1/namespaces/default/{plural}");
        let object = |data: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "data": data});
        let (code, refused) = cluster.post(&path, &object(json!({"": value}))).await;
        assert_eq!((code, text(&refused, "/details/causes/0/field")), (422, "data[]"), "{refused}");
        let mut fixed = object(json!({"k": value}));
        fixed["immutable"] = json!(true);
        assert_eq!(cluster.post(&path, &fixed).await.0, 201);
        for patch in [
            json!({"data": {"k": "bmV3"}}),
            json!({"immutable": false}),
            json!({"immutable": null}),
        ] {
            let (code, _, refused) =
                cluster.json("PATCH", &format!("{path}/x"), &[MERGE], &patch).await;
            assert_eq!((code, text(&refused, "/reason")), (422, "Invalid"), "{patch}: {refused}");
        }
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        assert_eq!(cluster.json("PATCH", &format!("{path}/x"), &[MERGE], &label).await.0, 200);
        assert_eq!(cluster.json("DELETE", &format!("{path}/x"), &[], &Value::Null).await.0, 200);
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_put_creates_where_upstream_lets_it() {
    let cluster = Cluster::start().await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": []});
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/r";
    assert_eq!(cluster.json("PUT", path, &[], &role).await.0, 201);
    assert_eq!(cluster.json("PUT", path, &[], &role).await.0, 200);
    let (code, _, refused) = cluster.json("PUT", &format!("{MAPS}/a"), &[], &map("a", "x")).await;
    assert_eq!((code, text(&refused, "/reason")), (404, "NotFound"));
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    assert_eq!(cluster.json("PUT", path, &[], &lease).await.0, 201);
    let (code, _, refused) = cluster.json("PUT", path, &[], &lease).await;
    assert_eq!(
        (code, text(&refused, "/details/causes/0/field")),
        (422, "metadata.resourceVersion"),
        "{refused}"
    );
    cluster.handle.shutdown().await;
}
