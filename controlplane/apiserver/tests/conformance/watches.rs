//! Watches, lists in chunks, revisions.

use serde_json::{Value, json};

use super::{MAPS, MERGE, map, text};
use crate::common::{Cluster, Events};

#[tokio::test]
async fn a_watch_goes_on_from_any_revision() {
    let cluster = Cluster::start().await;
    let (_, first) = cluster.post(MAPS, &map("w", "a")).await;
    let mut versions = vec![text(&first, "/metadata/resourceVersion").to_owned()];
    for number in 1..=3 {
        let patch = json!({"data": {"k": number.to_string()}});
        let (_, _, next) = cluster.json("PATCH", &format!("{MAPS}/w"), &[MERGE], &patch).await;
        versions.push(text(&next, "/metadata/resourceVersion").to_owned());
    }
    cluster.json("DELETE", &format!("{MAPS}/w"), &[], &Value::Null).await;
    for (seen, version) in versions.iter().enumerate() {
        let path =
            format!("{MAPS}?watch=true&resourceVersion={version}&fieldSelector=metadata.name%3Dw");
        let mut events = Events::new(cluster.send("GET", &path, &[], "").await);
        for number in seen + 1..=3 {
            let event = events.next().await.unwrap();
            assert_eq!(
                (&event["type"], text(&event["object"], "/data/k")),
                (&json!("MODIFIED"), number.to_string().as_str())
            );
            assert_eq!(text(&event["object"], "/metadata/resourceVersion"), versions[number]);
        }
        assert_eq!(events.brief().await, "DELETED w");
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn several_watchers_see_their_labels() {
    let cluster = Cluster::start().await;
    let watch = |selector: &str| format!("{MAPS}?watch=true&labelSelector={selector}");
    let mut a = Events::new(cluster.send("GET", &watch("l%3Da"), &[], "").await);
    let mut b = Events::new(cluster.send("GET", &watch("l%3Db"), &[], "").await);
    let mut both = Events::new(cluster.send("GET", &watch("l+in+(a,b)"), &[], "").await);
    for label in ["a", "b"] {
        cluster.post(MAPS, &map(label, label)).await;
        let patch = json!({"data": {"k": "2"}});
        cluster.json("PATCH", &format!("{MAPS}/{label}"), &[MERGE], &patch).await;
        cluster.json("DELETE", &format!("{MAPS}/{label}"), &[], &Value::Null).await;
    }
    for (events, names) in [(&mut a, &["a"][..]), (&mut b, &["b"]), (&mut both, &["a", "b"])] {
        for name in names {
            for kind in ["ADDED", "MODIFIED", "DELETED"] {
                assert_eq!(events.brief().await, format!("{kind} {name}"));
            }
        }
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn watchers_from_many_revisions_see_one_order() {
    let cluster = Cluster::start().await;
    let mut versions = Vec::new();
    for number in 0..10 {
        let (_, made) = cluster.post(MAPS, &map(&format!("m{number}"), "a")).await;
        versions.push(text(&made, "/metadata/resourceVersion").to_owned());
    }
    for (from, version) in versions.iter().enumerate() {
        let path = format!("{MAPS}?watch=true&resourceVersion={version}");
        let mut events = Events::new(cluster.send("GET", &path, &[], "").await);
        for next in &versions[from + 1..] {
            let event = events.next().await.unwrap();
            assert_eq!(text(&event["object"], "/metadata/resourceVersion"), next);
        }
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn lists_in_chunks_are_of_one_revision() {
    let cluster = Cluster::start().await;
    for number in 0..12 {
        let template = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": format!("t{number:02}")},
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
        cluster.post("/api/v1/namespaces/default/podtemplates", &template).await;
    }
    let path = "/api/v1/namespaces/default/podtemplates?limit=5";
    let (_, first) = cluster.get(path).await;
    let version = text(&first, "/metadata/resourceVersion").to_owned();
    assert_eq!(first["metadata"]["remainingItemCount"], 7);
    // What happens between the pages is not in them.
    cluster.json("DELETE", "/api/v1/namespaces/default/podtemplates/t07", &[], &Value::Null).await;
    let mut names: Vec<String> = Vec::new();
    let mut page = first;
    loop {
        assert_eq!(text(&page, "/metadata/resourceVersion"), version);
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| text(item, "/metadata/name").to_owned()),
        );
        let token = text(&page, "/metadata/continue").to_owned();
        if token.is_empty() {
            break;
        }
        page = cluster.get(&format!("{path}&continue={token}")).await.1;
    }
    let expected: Vec<String> = (0..12).map(|number| format!("t{number:02}")).collect();
    assert_eq!(names, expected);
    assert!(page["metadata"].get("remainingItemCount").is_none());
    let (_, selected) = cluster.get(&format!("{path}&labelSelector=a!%3Db")).await;
    assert!(selected["metadata"].get("remainingItemCount").is_none(), "unknown with a selector");
    let both = format!(
        "{path}&continue={}&resourceVersion={version}",
        text(&selected, "/metadata/continue")
    );
    assert_eq!(cluster.get(&both).await.0, 400);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_list_goes_on_after_compaction_from_the_newest_state() {
    let interval = std::time::Duration::from_secs(4);
    let cluster = Cluster::start_with(|config| config.compaction_interval = interval).await;
    for number in 0..12 {
        cluster.post(MAPS, &map(&format!("m{number:02}"), "a")).await;
    }
    let path = format!("{MAPS}?limit=5&labelSelector=l%3Da");
    let (_, first) = cluster.get(&path).await;
    let version = text(&first, "/metadata/resourceVersion").to_owned();
    let next = |page: &Value| format!("{path}&continue={}", text(page, "/metadata/continue"));
    // Until the store has forgotten that revision the next page is of it; only what is superseded is forgotten.
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut change = 0;
    let expired = loop {
        let (code, page) = cluster.get(&next(&first)).await;
        if code != 200 {
            assert_eq!((code, text(&page, "/reason")), (410, "Expired"), "{page}");
            break page;
        }
        assert_eq!(text(&page, "/metadata/resourceVersion"), version);
        assert!(tokio::time::Instant::now() < end, "the token never expired");
        change += 1;
        let patch = json!({"data": {"k": change.to_string()}});
        cluster.json("PATCH", &format!("{MAPS}/m00"), &[MERGE], &patch).await;
    };
    // One that is made now would not be in the rest of the first list; it is in this.
    cluster.post(MAPS, &map("m99", "a")).await;
    let (code, second) = cluster.get(&next(&expired)).await;
    assert_eq!(code, 200, "{second}");
    let newer = text(&second, "/metadata/resourceVersion").to_owned();
    assert_ne!(newer, version, "it is of another revision");
    let (code, third) = cluster.get(&next(&second)).await;
    assert_eq!((code, text(&third, "/metadata/resourceVersion")), (200, newer.as_str()), "{third}");
    let names: Vec<&str> = [&first, &second, &third]
        .iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .map(|item| text(item, "/metadata/name"))
        .collect();
    let mut expect: Vec<String> = (0..12).map(|number| format!("m{number:02}")).collect();
    expect.push("m99".to_owned());
    assert_eq!(names, expect);
    assert_eq!(text(&third, "/metadata/continue"), "");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn revisions_are_asked_for_as_upstream() {
    let cluster = Cluster::start().await;
    let (_, made) = cluster.post(MAPS, &map("a", "x")).await;
    let version = text(&made, "/metadata/resourceVersion").to_owned();
    cluster.post(MAPS, &map("b", "x")).await;
    let count = |list: &Value| list["items"].as_array().map_or(0, Vec::len);
    let (code, exact) = cluster
        .get(&format!(
            "{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact&labelSelector=l"
        ))
        .await;
    assert_eq!((code, count(&exact)), (200, 1));
    let (code, newer) = cluster
        .get(&format!(
            "{MAPS}?resourceVersion={version}&resourceVersionMatch=NotOlderThan&labelSelector=l"
        ))
        .await;
    assert_eq!((code, count(&newer)), (200, 2));
    let (code, any) = cluster.get(&format!("{MAPS}?resourceVersion=0&labelSelector=l")).await;
    assert_eq!((code, count(&any)), (200, 2));
    for (query, code, reason) in [
        ("resourceVersion=999999999", 504, "Timeout"),
        ("resourceVersion=x", 400, "BadRequest"),
        ("resourceVersionMatch=Exact", 422, "Invalid"),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422, "Invalid"),
        ("watch=true&resourceVersion=1&resourceVersionMatch=Exact", 422, "Invalid"),
        ("continue=nonsense", 400, "BadRequest"),
        ("limit=x", 400, "BadRequest"),
        ("labelSelector=a%3D%3D%3D", 400, "BadRequest"),
        ("fieldSelector=spec.x%3D1", 400, "BadRequest"),
    ] {
        let (got, status) = cluster.get(&format!("{MAPS}?{query}")).await;
        assert_eq!((got, text(&status, "/reason")), (code, reason), "{query}: {status}");
    }
    cluster.handle.shutdown().await;
}
