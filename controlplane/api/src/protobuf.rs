//! The `k8s\0` protobuf envelope, transcoded to and from JSON trees by the schema table.
//!
//! Upstream marshals with gogo/protobuf: fields in order of their numbers, fields that are no pointers always written,
//! map entries sorted by key.

mod decode;
mod encode;
mod wire;

use serde_json::Value;

use crate::{Reason, Status, schema};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// Decodes an envelope (`runtime.Unknown`) into an object with `apiVersion` and `kind` set.
pub fn decode(body: &[u8]) -> Result<Value, Status> {
    let bad = |text: String| Status::new(Reason::BadRequest, text);
    let (api_version, kind, raw) =
        open_envelope(body).map_err(|error| bad(format!("unable to decode protobuf: {error}")))?;
    let is_event = api_version.is_empty() && kind.is_empty();
    let found = if is_event { watch_event() } else { schema::message_of(&api_version, &kind) };
    let message = found.ok_or_else(|| {
        bad(format!("no kind {kind:?} is registered for version {api_version:?} in scheme"))
    })?;
    let mut map = decode::message(message, raw).map_err(|error| {
        bad(format!("unable to decode {kind} in version {api_version}: {error}"))
    })?;
    if !is_event {
        map.insert("apiVersion".to_owned(), Value::String(api_version));
        map.insert("kind".to_owned(), Value::String(kind));
    }
    Ok(Value::Object(map))
}

/// `WatchEvent` is the one message that travels without a kind.
fn watch_event() -> Option<&'static schema::Message> {
    schema::message("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent")
}

/// Encodes an object of a built-in kind, or a watch event (`type` and `object`); `None` where the schema table has no
/// such kind.
#[must_use]
pub fn encode(object: &Value) -> Option<Vec<u8>> {
    let is_event = object.get("kind").is_none() && object.get("object").is_some();
    let (api_version, kind) = match is_event {
        true => ("", ""),
        false => (object["apiVersion"].as_str()?, object["kind"].as_str()?),
    };
    let message = if is_event { watch_event() } else { schema::message_of(api_version, kind) }?;
    let mut type_meta = wire::Writer::default();
    type_meta.text(1, api_version);
    type_meta.text(2, kind);
    let mut envelope = wire::Writer::default();
    envelope.bytes(1, &type_meta.finish());
    envelope.bytes(2, &encode::message(message, object));
    envelope.text(3, "");
    envelope.text(4, "");
    Some([MAGIC, &envelope.finish()].concat())
}

/// One event of a watch stream: the length of what follows in four bytes, big endian, then a `WatchEvent` without envelope
/// around the object's envelope. `None` where the schema table has no such kind, or above 4 GiB.
#[must_use]
pub fn watch_frame(kind: &str, object: &Value) -> Option<Vec<u8>> {
    let mut raw = wire::Writer::default();
    raw.bytes(1, &encode(object)?);
    let mut event = wire::Writer::default();
    event.text(1, kind);
    event.bytes(2, &raw.finish());
    let event = event.finish();
    let length = u32::try_from(event.len()).ok()?;
    Some([&length.to_be_bytes()[..], &event].concat())
}

/// API version, kind and the object's own bytes.
fn open_envelope(body: &[u8]) -> Result<(String, String, &[u8]), wire::Malformed> {
    let mut reader = wire::Reader::new(body.strip_prefix(MAGIC).ok_or(wire::Malformed::NoMagic)?);
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    while let Some((number, value)) = reader.next()? {
        match number {
            1 => {
                let mut inner = wire::Reader::new(value.bytes()?);
                while let Some((number, value)) = inner.next()? {
                    match number {
                        1 => api_version = value.text()?.to_owned(),
                        2 => kind = value.text()?.to_owned(),
                        _ => {}
                    }
                }
            }
            2 => raw = value.bytes()?,
            _ => {}
        }
    }
    Ok((api_version, kind, raw))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn round_trip(object: Value) {
        let bytes = encode(&object).unwrap();
        assert_eq!(decode(&bytes).unwrap(), object);
    }

    #[test]
    fn objects_round_trip() {
        round_trip(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a",
            "creationTimestamp": "2020-01-02T03:04:05Z"}, "data": {"k": "AAEC"}, "type": "Opaque"}));
        round_trip(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "status": {"loadBalancer": {}},
            "spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8080}]}}),
        );
        round_trip(
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"renewTime": "2020-01-02T03:04:05.000678Z", "leaseDurationSeconds": 40}}),
        );
        round_trip(
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
            "spec": {"user": "u", "extra": {"a": ["b", "c"]}}, "status": {"allowed": false}}),
        );
        round_trip(
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground", "gracePeriodSeconds": 0}),
        );
        round_trip(
            json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "5"},
            "items": [{"metadata": {"name": "a"}, "data": {"x": "y"}}]}),
        );
    }

    #[test]
    fn definitions_round_trip() {
        round_trip(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "a.b"}, "spec": {"group": "b", "scope": "Cluster", "names": {"plural": "a", "kind": "A"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"x": {"type": "array", "items": {"type": "string", "default": "d", "enum": ["d", "e"]}},
                    "m": {"additionalProperties": true}, "n": {"additionalProperties": {"type": "integer", "minimum": 1.5}}}}}}]},
            "status": {"conditions": null, "storedVersions": null, "acceptedNames": {"plural": "", "kind": ""}}}).pruned());
    }

    trait Pruned {
        fn pruned(self) -> Self;
    }

    impl Pruned for Value {
        fn pruned(mut self) -> Self {
            if let Some(status) = self["status"].as_object_mut() {
                status.retain(|_, value| !value.is_null());
            }
            self
        }
    }

    #[test]
    fn watch_events_are_framed() {
        let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "message": "m", "reason": "Expired", "code": 410});
        let frame = watch_frame("ERROR", &status).unwrap();
        assert_eq!(frame[..4], u32::try_from(frame.len() - 4).unwrap().to_be_bytes());
        assert_eq!(frame[4..12], *b"\x0a\x05ERROR\x12");
        let envelope = frame.windows(4).position(|window| window == MAGIC).unwrap();
        assert_eq!(decode(&frame[envelope..]).unwrap(), status);
        assert!(watch_frame("ADDED", &json!({"apiVersion": "e.com/v1", "kind": "Foo"})).is_none());
    }

    #[test]
    fn garbage_is_refused() {
        for body in [
            &b""[..],
            b"k8s\0\xff",
            b"{}",
            b"k8s\0\x0a\x02\x0a\x09",
            b"k8s\0\x12\xff\xff\xff\xff\x0f",
        ] {
            assert!(decode(body).is_err(), "{body:?}");
        }
        assert!(encode(&json!({"apiVersion": "example.com/v1", "kind": "Foo"})).is_none());
    }
}
