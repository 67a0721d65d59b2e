//! What is served: `/api`, `/apis` and below, in the legacy and the aggregated form.

mod aggregated;
mod form;
mod legacy;

use api::Status;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    accept::Encoding,
    app::App,
    errors,
    respond::{self, Reply},
};
use form::Form;

/// Answers a discovery path.
pub fn answer(app: &App, path: &str, accept: &str, none_match: &str) -> Result<Reply, Status> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let form = Form::negotiate(accept, parts.len() == 1)?;
    let document = document(app, &parts, form).ok_or_else(errors::unknown_path)?;
    let (media, text) = respond::written(&document, form.encoding)
        .ok_or_else(|| errors::internal(format!("no protobuf form of {}", document["kind"])))?;
    Ok(tagged(text.into(), &form.media(media), none_match))
}

fn document(app: &App, parts: &[&str], form: Form) -> Option<Value> {
    let registry = app.registry.load();
    Some(match (parts, form.aggregated) {
        (["api"], Some(version)) => aggregated::document(&registry, true, version),
        (["apis"], Some(version)) => {
            let mut document = aggregated::document(&registry, false, version);
            append(&mut document["items"], app.aggregation.discovery());
            document
        }
        (["api"], None) => {
            let mut document = legacy::core_versions(&app.url());
            // The JSON form has no version of its own, as upstream's; the protobuf envelope needs one.
            if form.encoding == Encoding::Protobuf {
                document["apiVersion"] = json!("v1");
            }
            document
        }
        (["apis"], None) => {
            let mut document = legacy::groups(&registry);
            append(&mut document["groups"], app.aggregation.groups());
            document
        }
        (["api", version], _) => legacy::resources(&registry, "", version)?,
        (["apis", group], _) => {
            legacy::group(&registry, group).or_else(|| app.aggregation.group(group))?
        }
        (["apis", group, version], _) => legacy::resources(&registry, group, version)?,
        _ => return None,
    })
}

/// Groups that other servers answer come after our own.
fn append(list: &mut Value, more: Vec<Value>) {
    if let Some(list) = list.as_array_mut() {
        list.extend(more);
    }
}

/// A document with its hash as ETag; 304 when the client has it.
#[must_use]
pub fn with_etag(value: &Value, media: &str, none_match: &str) -> Reply {
    let text = Bytes::from(serde_json::to_vec(value).expect("trees encode"));
    tagged(text, media, none_match)
}

fn tagged(text: Bytes, media: &str, none_match: &str) -> Reply {
    let hash = hex::encode_upper(Sha256::digest(&text));
    let etag = format!("\"{hash}\"");
    let same = none_match.split(',').any(|tag| tag.trim() == etag);
    let (code, body) =
        if same { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, text) };
    let mut reply = respond::bytes(code, "application/json", body);
    if let Ok(media) = HeaderValue::from_str(media) {
        reply.headers_mut().insert(header::CONTENT_TYPE, media);
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        reply.headers_mut().insert(header::ETAG, etag);
    }
    reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    reply
}
