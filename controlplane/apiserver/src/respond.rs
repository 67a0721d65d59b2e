//! Turning results into HTTP responses: objects in the negotiated form, Status errors, compression.

use std::io::Write;

use api::{Reason, Status};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde_json::{Value, json};

use crate::{
    accept::{Encoding, Form},
    cache::Item,
    call::Call,
    clock, convert,
};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
pub type Reply = Response<Body>;

const JSON: &str = "application/json";

/// Answers of at least this size are compressed when the client allows it, as upstream.
const GZIP_BYTES_MIN: usize = 128 << 10;

/// A body of known bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A response with a media type.
#[must_use]
pub fn bytes(code: StatusCode, media: &'static str, bytes: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(full(bytes));
    *reply.status_mut() = code;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    reply
}

/// A JSON tree.
#[must_use]
pub fn json(code: StatusCode, value: &Value) -> Reply {
    let mut text = serde_json::to_vec(value).expect("trees encode");
    text.push(b'\n');
    bytes(code, "application/json", text)
}

/// A failed request.
#[must_use]
pub fn status(status: &Status, encoding: Encoding) -> Reply {
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let value = status.to_json();
    let mut reply = match written(&value, encoding) {
        Some((media, text)) if encoding != Encoding::Json => bytes(code, media, text),
        _ => json(code, &value),
    };
    if let Some(seconds) = status.retry_after_seconds {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status.reason == Reason::Unauthorized {
        let realm = HeaderValue::from_static("Basic realm=\"kubernetes-master\"");
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
    }
    reply
}

/// `Status` of success, as a completed deletion answers.
#[must_use]
pub fn success(call: &Call, name: &str, uid: &str) -> Value {
    let mut details = json!({"name": name, "kind": call.kind.plural, "uid": uid});
    if !call.kind.group.is_empty() {
        details["group"] = json!(call.kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// One object of the call's kind, from its cached bytes where its form allows.
#[must_use]
pub fn item(call: &Call, code: StatusCode, item: &Item) -> Reply {
    if call.output.form == Form::Plain
        && call.output.encoding == Encoding::Json
        && !convert::is_needed(&call.kind)
        && !call.is_pretty()
    {
        return compress(
            call,
            bytes(code, "application/json", item.json.clone()),
            item.json.clone(),
        );
    }
    object(call, code, &convert::to_served(&call.kind, item.value()))
}

/// One object that is no cached item.
#[must_use]
pub fn object(call: &Call, code: StatusCode, object: &Value) -> Reply {
    match call.output.form {
        Form::Plain => encoded(call, code, object),
        Form::Metadata(version) => encoded(call, code, &partial(object, version)),
        Form::Table(version) => encoded(call, code, &table(call, &[object], version, true)),
    }
}

/// A Table of objects; the metadata is the single object's.
#[must_use]
pub fn table(call: &Call, objects: &[&Value], version: &str, columns: bool) -> Value {
    let metadata = match objects {
        [one] => json!({"resourceVersion": one["metadata"]["resourceVersion"]}),
        _ => json!({}),
    };
    table_with(call, objects, metadata, version, columns)
}

/// A Table with the metadata of a list.
#[must_use]
pub fn table_with(
    call: &Call,
    objects: &[&Value],
    metadata: Value,
    version: &str,
    columns: bool,
) -> Value {
    use api::columns::IncludeObject;
    let include = match call.query.get("includeObject") {
        "None" => IncludeObject::None,
        "Object" => IncludeObject::Object,
        _ => IncludeObject::Metadata,
    };
    let now = clock::now_unix();
    let mut table = api::columns::table(&call.kind, objects, metadata, include, columns, now);
    table["apiVersion"] = json!(format!("meta.k8s.io/{version}"));
    table
}

/// Only the metadata.
#[must_use]
pub fn partial(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

/// Writes a tree in the negotiated encoding.
#[must_use]
pub fn encoded(call: &Call, code: StatusCode, value: &Value) -> Reply {
    let done = match call.output.encoding {
        Encoding::Json if call.is_pretty() => {
            Some((JSON, serde_json::to_vec_pretty(value).expect("trees encode")))
        }
        encoding => written(value, encoding),
    };
    let Some((media, text)) = done else {
        let kind = value["kind"].as_str().unwrap_or_default();
        let why = format!(
            "object {kind} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
        );
        return status(&Status::new(Reason::NotAcceptable, why), Encoding::Json);
    };
    let text = Bytes::from(text);
    compress(call, bytes(code, media, text.clone()), text)
}

/// Media type and bytes; `None` for what has no protobuf form.
#[must_use]
pub fn written(value: &Value, encoding: Encoding) -> Option<(&'static str, Vec<u8>)> {
    Some(match encoding {
        Encoding::Yaml => {
            ("application/yaml", serde_yaml_ng::to_string(value).unwrap_or_default().into_bytes())
        }
        Encoding::Protobuf => (api::protobuf::MEDIA_TYPE, api::protobuf::encode(value)?),
        Encoding::Json => (JSON, serde_json::to_vec(value).expect("trees encode")),
    })
}

/// Whether an answer of that size is compressed for this client.
#[must_use]
pub fn is_compressed(call: &Call, bytes: usize) -> bool {
    bytes >= GZIP_BYTES_MIN
        && call.header(header::ACCEPT_ENCODING).split(',').any(|coding| {
            coding.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("gzip")
        })
}

/// Replaces a large body by its gzip form when the client accepts that.
#[must_use]
pub fn compress(call: &Call, mut reply: Reply, plain: Bytes) -> Reply {
    if !is_compressed(call, plain.len()) {
        return reply;
    }
    let out = Vec::with_capacity(plain.len() / 6);
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    if encoder.write_all(&plain).is_err() {
        return reply;
    }
    let Ok(packed) = encoder.finish() else { return reply };
    *reply.body_mut() = full(packed);
    reply.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    reply.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    reply
}
