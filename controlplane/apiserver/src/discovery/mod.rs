//! What is served: `/api`, `/apis` and below, in the legacy and the aggregated form.

mod aggregated;
mod legacy;

use api::Status;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    accept::{self, Encoding},
    app::App,
    errors,
    respond::{self, Reply},
};

/// Answers a discovery path.
pub fn answer(app: &App, path: &str, accept: &str, none_match: &str) -> Result<Reply, Status> {
    let registry = app.registry.load();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let form = aggregated_version(accept);
    let value = match (parts.as_slice(), form) {
        (["api"], Some(version)) => aggregated::document(&registry, true, version),
        (["apis"], Some(version)) => {
            let mut document = aggregated::document(&registry, false, version);
            append(&mut document["items"], app.aggregation.discovery());
            document
        }
        (["api"], None) => legacy::core_versions(&app.url()),
        (["apis"], None) => {
            let mut document = legacy::groups(&registry);
            append(&mut document["groups"], app.aggregation.groups());
            document
        }
        (["api", version], _) => legacy::resources(&registry, "", version).ok_or_else(not_found)?,
        (["apis", group], _) => legacy::group(&registry, group)
            .or_else(|| app.aggregation.group(group))
            .ok_or_else(not_found)?,
        (["apis", group, version], _) => {
            legacy::resources(&registry, group, version).ok_or_else(not_found)?
        }
        _ => return Err(not_found()),
    };
    let media = match form.filter(|_| parts.len() == 1) {
        Some("v2") => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Some(_) => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        None => "application/json",
    };
    // Aggregated documents have only their JSON form.
    if form.is_none()
        && accept::encoding(accept) == Encoding::Protobuf
        && let Some(bytes) = api::protobuf::encode(&value)
    {
        return Ok(tagged(bytes.into(), api::protobuf::MEDIA_TYPE, none_match));
    }
    Ok(with_etag(&value, media, none_match))
}

/// Groups that other servers answer come after our own.
fn append(list: &mut Value, more: Vec<Value>) {
    if let Some(list) = list.as_array_mut() {
        list.extend(more);
    }
}

fn not_found() -> Status {
    errors::unknown_path()
}

fn aggregated_version(accept: &str) -> Option<&'static str> {
    for range in accept::ranges(accept) {
        if range.media != "application/json" {
            continue;
        }
        match (range.param("as"), range.param("g"), range.param("v")) {
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => return Some("v2"),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1") => return Some("v2beta1"),
            ("", ..) => return None,
            _ => {}
        }
    }
    None
}

/// A document with its hash as ETag; 304 when the client has it.
#[must_use]
pub fn with_etag(value: &Value, media: &'static str, none_match: &str) -> Reply {
    let text = Bytes::from(serde_json::to_vec(value).expect("trees encode"));
    tagged(text, media, none_match)
}

fn tagged(text: Bytes, media: &'static str, none_match: &str) -> Reply {
    let hash = hex::encode_upper(Sha256::digest(&text));
    let etag = format!("\"{hash}\"");
    let same = none_match.split(',').any(|tag| tag.trim() == etag);
    let (code, body) =
        if same { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, text) };
    let mut reply = respond::bytes(code, media, body);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        reply.headers_mut().insert(header::ETAG, etag);
    }
    reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_choice_decides_the_form() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let both = format!("{v2},application/json");
        for (accept, expect) in [
            (both.as_str(), Some("v2")),
            ("application/json", None),
            (
                "application/json,application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                None,
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
                Some("v2beta1"),
            ),
            ("", None),
        ] {
            assert_eq!(aggregated_version(accept), expect, "{accept}");
        }
    }
}
