//! One watch event as bytes.

use api::Status;
use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};

use super::copies_bytes;
use crate::{
    accept::{Encoding, Form},
    cache::Item,
    call::Call,
    convert, respond,
};

/// What happened, as a selector's view of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Added,
    Modified,
    Deleted,
}

impl Type {
    fn text(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// What a watcher sees of a change, from whether its selectors matched before and match after.
#[must_use]
pub fn transition(before: bool, after: bool) -> Option<Type> {
    match (before, after) {
        (false, true) => Some(Type::Added),
        (true, true) => Some(Type::Modified),
        (true, false) => Some(Type::Deleted),
        (false, false) => None,
    }
}

/// Appends one event. `columns`: a Table carries its column definitions.
pub fn put(out: &mut BytesMut, call: &Call, kind: Type, item: &Item, columns: bool) {
    if copies_bytes(call) {
        out.reserve(item.json.len() + 40);
        open(out, kind.text());
        out.put_slice(&item.json);
        out.put_slice(b"}\n");
        return;
    }
    let object = convert::to_served(&call.kind, item.value());
    let shown = match call.output.form {
        Form::Plain => object.into_owned(),
        Form::Metadata(version) => respond::partial(&object, version),
        Form::Table(version) => respond::table(call, &[&object], version, columns),
    };
    put_value(out, call.output.encoding, kind.text(), &shown);
}

/// Appends a BOOKMARK; `initial_end` marks the end of the initial events.
pub fn put_bookmark(out: &mut BytesMut, call: &Call, revision: u64, initial_end: bool) {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let (kind, version) = match call.output.form {
        Form::Plain => (call.kind.kind.clone(), call.kind.api_version()),
        Form::Metadata(version) => {
            ("PartialObjectMetadata".into(), format!("meta.k8s.io/{version}"))
        }
        Form::Table(version) => ("Table".into(), format!("meta.k8s.io/{version}")),
    };
    let mut object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
    match call.output.form {
        Form::Table(_) => {
            object["columnDefinitions"] = json!([]);
            object["rows"] = json!([]);
        }
        // Typed clients decode the whole object; upstream's empty objects have an empty spec and status too.
        Form::Plain | Form::Metadata(_) => {}
    }
    put_value(out, call.output.encoding, "BOOKMARK", &object);
}

/// Appends an ERROR, after which the watch ends.
pub fn put_error(out: &mut BytesMut, call: &Call, status: &Status) {
    put_value(out, call.output.encoding, "ERROR", &status.to_json());
}

fn open(out: &mut BytesMut, kind: &str) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
}

fn put_value(out: &mut BytesMut, encoding: Encoding, kind: &str, value: &Value) {
    if encoding == Encoding::Protobuf {
        let frame = api::protobuf::watch_frame(kind, value);
        out.put_slice(&frame.expect("only what has a protobuf form is negotiated so"));
        return;
    }
    open(out, kind);
    serde_json::to_writer(out.writer(), value).expect("writing to memory cannot fail");
    out.put_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_turns_changes_into_its_own_view() {
        for (before, after, expect) in [
            (false, false, None),
            (false, true, Some(Type::Added)),
            (true, true, Some(Type::Modified)),
            (true, false, Some(Type::Deleted)),
        ] {
            assert_eq!(transition(before, after), expect);
        }
    }
}
