//! Audit events in the log and at a webhook.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use crate::common::Cluster;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc};

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  resources: [{group: '', resources: [secrets]}]
- level: RequestResponse
  omitManagedFields: true
  resources: [{group: '', resources: [configmaps]}]
- level: Request
  verbs: [watch]
  resources: [{group: '', resources: [pods]}]
- level: None
";

fn files(webhook: Option<&str>) -> (TempDir, PathBuf, apiserver::audit::Config) {
    let folder = tempfile::tempdir().unwrap();
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    std::fs::write(&policy, POLICY).unwrap();
    let mut config = apiserver::audit::Config {
        policy_file: Some(policy),
        log_path: Some(log.clone()),
        ..apiserver::audit::Config::default()
    };
    if let Some(url) = webhook {
        let path = folder.path().join("kubeconfig");
        let text = json!({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k"}}],
            "clusters": [{"name": "k", "cluster": {"server": url}}]});
        std::fs::write(&path, text.to_string()).unwrap();
        config.webhook_config_file = Some(path);
    }
    (folder, log, config)
}

/// The events in the log once there are `count`.
async fn events(log: &PathBuf, count: usize) -> Vec<Value> {
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let found: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if found.len() >= count {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "{text}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_policy_decides_what_is_logged() {
    let (_folder, log, config) = files(None);
    let cluster = Cluster::start_with(|server| server.audit = config).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "hidden"}});
    cluster.post("/api/v1/namespaces/default/secrets", &secret).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "shown"}});
    let headers = [
        ("impersonate-user", "jane"),
        ("impersonate-group", "system:masters"),
        ("audit-id", "my-id"),
        ("user-agent", "test/1"),
    ];
    cluster.json("POST", "/api/v1/namespaces/default/configmaps", &headers, &map).await;
    cluster.get("/api/v1/namespaces/default/services").await;
    cluster.get("/api/v1/namespaces/default/configmaps/gone").await;
    let found = events(&log, 3).await;
    assert_eq!(found.len(), 3);
    let (first, second, third) = (&found[0], &found[1], &found[2]);
    assert_eq!(
        (&first["level"], &first["stage"]),
        (&json!("Metadata"), &json!("ResponseComplete"))
    );
    assert!(first.get("requestObject").is_none() && !first.to_string().contains("hidden"));
    assert_eq!(first["objectRef"]["resource"], "secrets");
    assert_eq!(first["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(
        (&second["user"]["username"], &second["impersonatedUser"]["username"]),
        (&json!("kubernetes-admin"), &json!("jane"))
    );
    assert_eq!(second["auditID"], "my-id");
    assert_eq!(
        (&second["userAgent"], &second["sourceIPs"]),
        (&json!("test/1"), &json!(["127.0.0.1"]))
    );
    assert_eq!(second["requestObject"]["data"]["a"], "shown");
    assert_eq!(second["responseObject"]["metadata"]["name"], "m");
    assert!(second["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(
        (&second["verb"], &second["responseStatus"]["code"]),
        (&json!("create"), &json!(201))
    );
    assert_eq!(
        (&third["responseStatus"]["code"], &third["responseStatus"]["reason"]),
        (&json!(404), &json!("NotFound"))
    );
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_watch_is_logged_when_it_starts() {
    let (_folder, log, config) = files(None);
    let cluster = Cluster::start_with(|server| server.audit = config).await;
    let watch = cluster.send("GET", "/api/v1/pods?watch=true", &[], "").await;
    assert_eq!(watch.status(), 200);
    let found = events(&log, 1).await;
    assert_eq!(
        (&found[0]["stage"], &found[0]["verb"]),
        (&json!("ResponseStarted"), &json!("watch"))
    );
    drop(watch);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_webhook_gets_events_in_batches() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/audit", listener.local_addr().unwrap());
    let (sender, mut bodies) = mpsc::channel::<Value>(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let bytes = request.into_body().collect().await.unwrap().to_bytes();
                    let mut list: Value = serde_json::from_slice(&bytes).unwrap();
                    list["path"] = json!(path);
                    sender.send(list).await.unwrap();
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let (_folder, _log, config) = files(Some(&url));
    let cluster = Cluster::start_with(|server| server.audit = config).await;
    cluster.get("/api/v1/namespaces/default/configmaps").await;
    cluster.get("/api/v1/namespaces/default/secrets").await;
    // The end of the server sends what waits.
    cluster.handle.shutdown().await;
    let list = tokio::time::timeout(Duration::from_secs(10), bodies.recv()).await.unwrap().unwrap();
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("EventList"), &json!("audit.k8s.io/v1"))
    );
    assert_eq!(list["path"], "/audit");
    assert_eq!(list["items"].as_array().unwrap().len(), 2, "{list}");
}
