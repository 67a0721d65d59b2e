//! Continue tokens after history is gone, first from the cache, then from the store.

use serde_json::{Value, json};

use super::{MAPS, map, text};
use crate::common::Cluster;

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| text(item, "/metadata/name")).collect()
}

/// Writes more than the cache keeps of past ConfigMaps.
async fn push_history_out(cluster: &Cluster) {
    let large = "x".repeat(1_000_000);
    for number in 0..20 {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"},
            "data": {"n": number.to_string(), "x": large}});
        let path = "/api/v1/namespaces/kube-system/configmaps";
        let (method, path) = match number {
            0 => ("POST", path.to_owned()),
            _ => ("PUT", format!("{path}/large")),
        };
        let (code, _, answer) = cluster.json(method, &path, &[], &object).await;
        assert!(code < 300, "{answer}");
    }
}

#[tokio::test]
async fn continue_tokens_survive_compaction() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d", "e", "f"] {
        let (code, made) = cluster.post(MAPS, &map(name, "x")).await;
        assert_eq!(code, 201, "{made}");
    }
    let (_, first) = cluster.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["a", "b"], &json!(4))
    );
    let version = text(&first, "/metadata/resourceVersion");
    cluster.json("DELETE", &format!("{MAPS}/c"), &[], &Value::Null).await;
    cluster.post(MAPS, &map("cc", "x")).await;
    push_history_out(&cluster).await;
    // The cache has forgotten that revision, the store has not.
    let next =
        |page: &Value| format!("{MAPS}?limit=2&continue={}", text(page, "/metadata/continue"));
    let (code, second) = cluster.get(&next(&first)).await;
    assert_eq!((code, names(&second)), (200, vec!["c", "d"]), "{second}");
    assert_eq!(text(&second, "/metadata/resourceVersion"), version);
    assert_eq!(second["metadata"]["remainingItemCount"], 2);
    let exact = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    let (code, then) = cluster.get(&exact).await;
    assert_eq!((code, names(&then)), (200, vec!["a", "b", "c", "d", "e", "f"]));
    cluster.handle.compact().await.unwrap();
    let (code, gone) = cluster.get(&next(&first)).await;
    assert_eq!((code, text(&gone, "/reason")), (410, "Expired"), "{gone}");
    let why = "The provided continue parameter is too old to display a consistent list result. You can start a new list";
    assert!(text(&gone, "/message").starts_with(why), "{gone}");
    // What the Status offers goes on behind the last page in the newest state.
    let (code, rest) = cluster.get(&next(&gone)).await;
    assert_eq!((code, names(&rest)), (200, vec!["cc", "d"]), "{rest}");
    assert_ne!(text(&rest, "/metadata/resourceVersion"), version);
    assert_eq!(rest["metadata"]["remainingItemCount"], 2);
    let (code, last) = cluster.get(&next(&rest)).await;
    assert_eq!((code, names(&last)), (200, vec!["e", "f"]));
    assert!(last["metadata"].get("continue").is_none());
    let (code, gone) = cluster.get(&exact).await;
    assert_eq!((code, text(&gone, "/reason")), (410, "Expired"), "{gone}");
    assert!(text(&gone, "/message").starts_with("too old resource version: "), "{gone}");
    cluster.handle.shutdown().await;
}
