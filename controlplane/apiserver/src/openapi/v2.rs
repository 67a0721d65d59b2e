//! `/openapi/v2`: a valid document without definitions. Clients that need schemas read v3; kubectl falls back to the
//! types it was built with.

use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::respond::{self, Reply};

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const TITLE: &str = "Kubernetes";

pub fn answer(accept: &str) -> Reply {
    let version = crate::serve::GIT_VERSION;
    let mut reply = if accept.contains("proto-openapi.spec.v2") {
        respond::bytes(StatusCode::OK, PROTOBUF, protobuf(version))
    } else {
        let document = json!({
            "swagger": "2.0", "info": {"title": TITLE, "version": version}, "paths": {}, "definitions": {},
        });
        respond::json(StatusCode::OK, &document)
    };
    reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    reply
}

/// gnostic's `openapi.v2.Document`: swagger = 1, info = 2 {title = 1, version = 2}, paths = 8.
fn protobuf(version: &str) -> Vec<u8> {
    let mut info = Vec::new();
    put(&mut info, 1, TITLE.as_bytes());
    put(&mut info, 2, version.as_bytes());
    let mut document = Vec::new();
    put(&mut document, 1, b"2.0");
    put(&mut document, 2, &info);
    put(&mut document, 8, b"");
    document
}

/// A length-delimited field; all of ours are shorter than 128 bytes.
fn put(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    out.push(u8::try_from(bytes.len()).expect("short texts only"));
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protobuf_document_is_three_fields() {
        let bytes = protobuf("v1");
        assert_eq!(&bytes[..5], b"\x0a\x032.0");
        assert_eq!(&bytes[bytes.len() - 2..], b"\x42\x00");
    }
}
