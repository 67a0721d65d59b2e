//! `/openapi/v3` and `/openapi/v2`.

pub mod custom;
mod names;
mod paths;
mod v2;
mod v2_protobuf;
mod v3;

use api::Status;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{
    app::App,
    discovery, errors,
    query::Query,
    registry::Version,
    respond::{self, Reply},
};

pub use v3::Documents;

/// Answers an OpenAPI path.
pub fn answer(
    app: &App,
    path: &str,
    query: &Query,
    accept: &str,
    none_match: &str,
) -> Result<Reply, Status> {
    match path {
        "/openapi/v2" => Ok(whole(app, accept, none_match)),
        "/openapi/v3" => Ok(discovery::with_etag(&index(app), "application/json", none_match)),
        _ => document(app, path, query, none_match),
    }
}

/// `api/v1` or `apis/<group>/<version>`.
fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn index(app: &App) -> serde_json::Value {
    let registry = app.registry.load();
    let mut paths = serde_json::Map::new();
    for group in &registry.groups {
        for version in &group.versions {
            let path = document_path(&group.name, &version.name);
            let url = format!("/openapi/v3/{path}?hash={}", v3::hash(&registry, version));
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    for (group, version) in app.aggregation.versions() {
        let path = document_path(&group, &version);
        let url = format!("/openapi/v3/{path}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// The v2 document of everything, in JSON or protobuf.
fn whole(app: &App, accept: &str, none_match: &str) -> Reply {
    let registry = app.registry.load();
    let protobuf = accept.contains("proto-openapi.spec.v2");
    let (hash, text) = app.documents.whole(&registry, protobuf);
    let media = if protobuf { v2_protobuf::MEDIA } else { "application/json" };
    let mut reply = tagged(&hash, text, media, none_match);
    reply
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    reply
}

/// A document with its hash as ETag; 304 when the client has it.
fn tagged(hash: &str, text: bytes::Bytes, media: &'static str, none_match: &str) -> Reply {
    let etag = format!("\"{hash}\"");
    let same = none_match.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag);
    let mut reply = if same {
        respond::bytes(StatusCode::NOT_MODIFIED, media, "")
    } else {
        respond::bytes(StatusCode::OK, media, text)
    };
    let headers = reply.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    reply
}

fn document(app: &App, path: &str, query: &Query, none_match: &str) -> Result<Reply, Status> {
    let registry = app.registry.load();
    let rest = path.strip_prefix("/openapi/v3/").ok_or_else(errors::unknown_path)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let (group, version) = match parts.as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return Err(errors::unknown_path()),
    };
    let found: &Version = registry.version(group, version).ok_or_else(errors::unknown_path)?;
    let hash = v3::hash(&registry, found);
    let asked = query.get("hash");
    if !asked.is_empty() && asked != hash {
        let mut reply = respond::bytes(StatusCode::MOVED_PERMANENTLY, "text/plain", "");
        if let Ok(location) = HeaderValue::from_str(&format!("{path}?hash={hash}")) {
            reply.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(reply);
    }
    let text = app.documents.get(&registry, group, found);
    let mut reply = tagged(&hash, text, "application/json", none_match);
    // A hashed URL never changes its content.
    let caching = if asked.is_empty() { "no-cache, private" } else { "public, immutable" };
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    Ok(reply)
}
