//! Watches over the wire.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use common::{Cluster, Events};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"l": label}}})
}

#[tokio::test]
async fn a_watch_list_ends_with_its_bookmark() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a", "x")).await;
    let path = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut events = Events::new(cluster.send("GET", &path, &[], "").await);
    assert_eq!(events.brief().await, "ADDED a");
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    cluster.post(MAPS, &map("b", "x")).await;
    assert_eq!(events.brief().await, "ADDED b");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn selectors_see_objects_come_and_go() {
    let cluster = Cluster::start().await;
    let (_, made) = cluster.post(MAPS, &map("a", "no")).await;
    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!(
        "{MAPS}?watch=true&labelSelector=l%3Dyes&resourceVersion={version}&timeoutSeconds=5"
    );
    let mut events = Events::new(cluster.send("GET", &path, &[], "").await);
    let headers = [("content-type", "application/merge-patch+json")];
    for (label, extra) in [("yes", "1"), ("yes", "2"), ("no", "3"), ("yes", "4")] {
        let patch = json!({"metadata": {"labels": {"l": label}}, "data": {"x": extra}});
        cluster.json("PATCH", &format!("{MAPS}/a"), &headers, &patch).await;
    }
    cluster.json("DELETE", &format!("{MAPS}/a"), &[], &Value::Null).await;
    for expect in ["ADDED a", "MODIFIED a", "DELETED a", "ADDED a", "DELETED a"] {
        assert_eq!(events.brief().await, expect);
    }
    assert!(events.next().await.is_none(), "ends at its timeout");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn kube_informers_follow() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let make = |name: &str| ConfigMap {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &make("a")).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut stream = Box::pin(watcher(maps.clone(), config).applied_objects());
        let deadline = std::time::Duration::from_secs(10);
        let first = tokio::time::timeout(deadline, stream.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(first.metadata.name.as_deref(), Some("a"));
    }
    cluster.handle.shutdown().await;
}
