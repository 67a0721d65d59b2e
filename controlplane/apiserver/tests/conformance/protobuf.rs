//! Answers in protobuf beyond plain objects: watches, errors, metadata, discovery.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::{MAPS, map, text};
use crate::common::Cluster;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PARTIAL: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

async fn get(cluster: &Cluster, path: &str, accept: &str) -> (u16, String, Bytes) {
    let response = cluster.send("GET", path, &[("accept", accept)], "").await;
    let media = media(&response);
    let code = response.status().as_u16();
    (code, media, response.into_body().collect().await.unwrap().to_bytes())
}

fn media(response: &Response<Incoming>) -> String {
    response.headers()["content-type"].to_str().unwrap().to_owned()
}

/// Frames of a watch: a length in four bytes, then an event.
struct Frames {
    body: Incoming,
    rest: Vec<u8>,
}

impl Frames {
    /// Type and object of the next event.
    async fn next(&mut self) -> (String, Value) {
        loop {
            let length =
                self.rest.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize);
            if let Some(length) = length.filter(|length| self.rest.len() >= 4 + length) {
                let frame: Vec<u8> = self.rest.drain(..4 + length).skip(4).collect();
                // Field 1 is the type, field 2 the object's envelope.
                let end = 2 + usize::from(frame[1]);
                let kind = String::from_utf8(frame[2..end].to_vec()).unwrap();
                let envelope = frame.windows(4).position(|window| window == b"k8s\0").unwrap();
                return (kind, api::protobuf::decode(&frame[envelope..]).unwrap());
            }
            let deadline = std::time::Duration::from_secs(60);
            let frame = tokio::time::timeout(deadline, self.body.frame()).await.unwrap();
            self.rest.extend_from_slice(frame.unwrap().unwrap().data_ref().unwrap());
        }
    }
}

async fn watch(cluster: &Cluster, path: &str, accept: &str) -> Frames {
    let response = cluster.send("GET", path, &[("accept", accept)], "").await;
    assert_eq!(media(&response), format!("{PROTOBUF};stream=watch"));
    Frames { body: response.into_body(), rest: Vec::new() }
}

#[tokio::test]
async fn watches_are_framed_in_protobuf() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a", "x")).await;
    let path = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let stream = format!("{PROTOBUF};stream=watch");
    for (accept, kind, data) in
        [(stream.as_str(), "ConfigMap", "v"), (PARTIAL, "PartialObjectMetadata", "")]
    {
        let mut frames = watch(&cluster, &path, accept).await;
        let (event, object) = frames.next().await;
        assert_eq!((event.as_str(), text(&object, "/kind")), ("ADDED", kind));
        assert_eq!((text(&object, "/metadata/name"), text(&object, "/data/k")), ("a", data));
        let (event, object) = frames.next().await;
        assert_eq!((event.as_str(), text(&object, "/kind")), ("BOOKMARK", kind));
        let end = &object["metadata"]["annotations"]["k8s.io/initial-events-end"];
        assert_eq!(end, "true", "{object}");
        let version = text(&object, "/metadata/resourceVersion").to_owned();
        cluster.json("DELETE", &format!("{MAPS}/a"), &[], &Value::Null).await;
        let (event, object) = frames.next().await;
        assert_eq!((event.as_str(), text(&object, "/metadata/name")), ("DELETED", "a"));
        assert_ne!(text(&object, "/metadata/resourceVersion"), version);
        cluster.post(MAPS, &map("a", "x")).await;
    }
    let old = format!("{MAPS}?watch=true&resourceVersion=1");
    let (event, object) = watch(&cluster, &old, &stream).await.next().await;
    assert_eq!(
        (event.as_str(), text(&object, "/reason")),
        ("ADDED", ""),
        "the history reaches back"
    );
    let (code, _, _) = get(&cluster, &path, "application/yaml").await;
    assert_eq!(code, 406, "YAML has no frames");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn errors_metadata_and_discovery_are_written_in_protobuf() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a", "x")).await;
    let single = PARTIAL.replace("List", "");
    for (path, accept, code, kind) in [
        (format!("{MAPS}/none"), PROTOBUF, 404, "Status"),
        ("/api/v1/nothings".to_owned(), PROTOBUF, 404, "Status"),
        (format!("{MAPS}?limit=x"), PROTOBUF, 400, "Status"),
        (MAPS.to_owned(), PARTIAL, 200, "PartialObjectMetadataList"),
        (format!("{MAPS}/a"), single.as_str(), 200, "PartialObjectMetadata"),
        (
            "/apis/apiregistration.k8s.io/v1/apiservices".to_owned(),
            PARTIAL,
            200,
            "PartialObjectMetadataList",
        ),
        ("/apis".to_owned(), PROTOBUF, 200, "APIGroupList"),
        ("/api/v1".to_owned(), PROTOBUF, 200, "APIResourceList"),
    ] {
        let (got, media, body) = get(&cluster, &path, accept).await;
        assert_eq!((got, media.as_str()), (code, PROTOBUF), "{path}");
        let object = api::protobuf::decode(&body).unwrap();
        assert_eq!(text(&object, "/kind"), kind, "{path}: {object}");
        assert_eq!(object["code"].as_u64().unwrap_or(200), u64::from(code), "{object}");
    }
    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1");
    let (code, media, body) = get(&cluster, MAPS, &table).await;
    assert_eq!((code, media.as_str()), (406, PROTOBUF), "Tables have no protobuf form");
    assert_eq!(api::protobuf::decode(&body).unwrap()["reason"], "NotAcceptable");
    let headers = [("accept", PROTOBUF)];
    let response = cluster.send("DELETE", &format!("{MAPS}/a"), &headers, "").await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let status = api::protobuf::decode(&body).unwrap();
    assert_eq!(
        (text(&status, "/kind"), text(&status, "/status")),
        ("Status", "Success"),
        "{status}"
    );
    cluster.handle.shutdown().await;
}
