//! Health paths, body bounds and the graceful end.

use std::time::Duration;

use crate::common::{Cluster, Events};
use serde_json::{Value, json};

#[tokio::test]
async fn checks_are_listed_excluded_and_asked_one_by_one() {
    let cluster = Cluster::start().await;
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(cluster.get(path).await, (200, json!("ok")));
        let (code, text) = cluster.get(&format!("{path}?verbose")).await;
        let text = text.as_str().unwrap().to_owned();
        assert!(code == 200 && text.contains("[+]ping ok\n"), "{text}");
        assert!(text.ends_with(&format!("{} check passed\n", &path[1..])), "{text}");
        assert_eq!(cluster.get(&format!("{path}/etcd")).await, (200, json!("ok")));
        assert_eq!(cluster.get(&format!("{path}/none")).await.0, 404);
    }
    let (_, text) = cluster.get("/readyz?verbose&exclude=etcd").await;
    assert!(text.as_str().unwrap().contains("[+]etcd excluded: ok\n"), "{text}");
    // Without credentials, as load balancers ask.
    assert_eq!(cluster.with_token("", "GET", "/readyz", &Value::Null).await.0, 200);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_server_that_stops_is_not_ready_and_still_serves() {
    let cluster =
        Cluster::start_with(|config| config.shutdown_delay = Duration::from_secs(2)).await;
    let mut watch = Events::new(
        cluster.send("GET", "/api/v1/namespaces/default/configmaps?watch=true", &[], "").await,
    );
    let stopping = cluster.handle.shutdown();
    let looking = async {
        let unready = |code: u16, text: &Value| {
            code == 500 && text.as_str().is_some_and(|text| text.contains("[-]shutdown failed"))
        };
        cluster.until("/readyz", unready).await;
        assert_eq!(cluster.get("/livez").await.0, 200);
        assert_eq!(cluster.get("/api/v1/namespaces/default").await.0, 200);
    };
    tokio::join!(stopping, looking);
    loop {
        if watch.next().await.is_none() {
            break;
        }
    }
}

#[tokio::test]
async fn large_bodies_are_refused() {
    let cluster = Cluster::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"a": "x".repeat(3 << 20)}});
    let (code, status) = cluster.post("/api/v1/namespaces/default/configmaps", &map).await;
    assert_eq!((code, &status["reason"]), (413, &json!("RequestEntityTooLarge")));
    cluster.handle.shutdown().await;
}
