//! Large answers are compressed for clients that say they can read that.

use std::io::Read;

use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{MAPS, text};
use crate::common::Cluster;

/// Upstream's threshold (`apiserver/pkg/endpoints/handlers/responsewriters`).
const THRESHOLD: usize = 128 << 10;
const GZIP: &[(&str, &str)] = &[("accept-encoding", "gzip")];

async fn list(cluster: &Cluster, query: &str, headers: &[(&str, &str)]) -> (HeaderMap, Vec<u8>) {
    let response = cluster.send("GET", &format!("{MAPS}{query}"), headers, "").await;
    let (parts, body) = response.into_parts();
    assert_eq!(parts.status, 200);
    (parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

fn coding(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap())
}

fn names(body: &[u8]) -> Vec<String> {
    let list: Value = serde_json::from_slice(body).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| text(item, "/metadata/name").to_owned()).collect()
}

#[tokio::test]
async fn large_lists_are_compressed_for_those_who_ask() {
    let cluster = Cluster::start().await;
    for number in 0..3 {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{number}"), "labels": {"n": number.to_string()}},
            "data": {"k": "x".repeat(60_000)}});
        let (code, made) = cluster.post(MAPS, &object).await;
        assert_eq!(code, 201, "{made}");
    }
    let small = "?labelSelector=n%21%3D2";
    for (query, large) in [("", true), (small, false)] {
        let (headers, plain) = list(&cluster, query, &[]).await;
        assert_eq!((coding(&headers), plain.len() > THRESHOLD), (None, large), "{query}");
        let (headers, identity) = list(&cluster, query, &[("accept-encoding", "identity")]).await;
        assert_eq!((coding(&headers), names(&identity)), (None, names(&plain)), "{query}");
        let (headers, sent) = list(&cluster, query, GZIP).await;
        if !large {
            assert_eq!((coding(&headers), names(&sent)), (None, names(&plain)), "{query}");
            continue;
        }
        assert_eq!(coding(&headers), Some("gzip"));
        let mut vary = headers.get_all(header::VARY).iter().map(|value| value.to_str().unwrap());
        assert!(vary.any(|value| value.contains("Accept-Encoding")), "{headers:?}");
        assert!(sent.len() < plain.len() / 10, "{} of {}", sent.len(), plain.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(sent.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked.len() > THRESHOLD);
        assert_eq!(names(&unpacked), names(&plain));
    }
    cluster.handle.shutdown().await;
}
