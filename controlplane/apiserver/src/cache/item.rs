//! One object at one revision: the bytes that every GET, LIST and WATCH copies, and the tree that rules read.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

/// An object as the cache holds it. Never changes; a write makes a new one.
#[derive(Debug)]
pub struct Item {
    /// `<namespace>/<name>`.
    pub key: Arc<str>,
    /// The whole object in JSON with `metadata.resourceVersion`.
    pub json: Bytes,
    pub revision: u64,
    tree: OnceLock<Arc<Value>>,
}

/// Where [`encode`] puts the metadata, and so where the revision is spliced in.
const METADATA: &[u8] = b"\"metadata\":{";

impl Item {
    /// From the stored bytes (which carry no resourceVersion) and the revision that wrote them.
    #[must_use]
    pub fn new(key: Arc<str>, stored: &[u8], revision: u64) -> Self {
        Self { key, json: splice_revision(stored, revision), revision, tree: OnceLock::new() }
    }

    /// An object that was never stored: it has no resourceVersion.
    #[must_use]
    pub fn unstored(key: Arc<str>, json: Bytes) -> Self {
        Self { key, json, revision: 0, tree: OnceLock::new() }
    }

    /// The parsed object, parsed at the first use.
    #[must_use]
    pub fn value(&self) -> &Arc<Value> {
        self.tree.get_or_init(|| {
            Arc::new(serde_json::from_slice(&self.json).expect("only encoded objects are stored"))
        })
    }

    /// The same object with another resourceVersion, as a deletion shows it.
    #[must_use]
    pub fn at_revision(&self, revision: u64) -> Self {
        match replace_revision(&self.json, revision) {
            Some(json) => Self { key: self.key.clone(), json, revision, tree: OnceLock::new() },
            // An object that was never stored has none to replace.
            None => Self::new(self.key.clone(), &encode(self.value()), revision),
        }
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&*self.key, |(_, name)| name)
    }
}

/// The bytes to store: apiVersion, kind and metadata first, without `metadata.resourceVersion`.
#[must_use]
pub fn encode(object: &Value) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    out.push(b'{');
    for key in ["kind", "apiVersion"] {
        if let Some(value) = fields.get(key) {
            write_field(&mut out, key, value);
        }
    }
    separate(&mut out);
    out.extend_from_slice(METADATA);
    if let Some(metadata) = fields.get("metadata").and_then(Value::as_object) {
        let first = out.len();
        for (key, value) in metadata.iter().filter(|(key, _)| *key != "resourceVersion") {
            if out.len() > first {
                out.push(b',');
            }
            write_pair(&mut out, key, value);
        }
    }
    out.push(b'}');
    for (key, value) in fields {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            write_field(&mut out, key, value);
        }
    }
    out.push(b'}');
    out.into()
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn write_field(out: &mut Vec<u8>, key: &str, value: &Value) {
    separate(out);
    write_pair(out, key, value);
}

fn write_pair(out: &mut Vec<u8>, key: &str, value: &Value) {
    serde_json::to_writer(&mut *out, key).expect("writing to memory cannot fail");
    out.push(b':');
    serde_json::to_writer(&mut *out, value).expect("writing to memory cannot fail");
}

/// The same bytes with another resourceVersion, which [`splice_revision`] put first in the metadata.
fn replace_revision(json: &[u8], revision: u64) -> Option<Bytes> {
    const FIELD: &[u8] = b"\"resourceVersion\":\"";
    let at = json.windows(METADATA.len()).position(|window| window == METADATA)? + METADATA.len();
    let digits = json.get(at..)?.strip_prefix(FIELD)?;
    let end = digits.iter().position(|byte| *byte == b'"')?;
    let mut out = BytesMut::with_capacity(json.len() + 20);
    out.put_slice(&json[..at + FIELD.len()]);
    out.put_slice(revision.to_string().as_bytes());
    out.put_slice(&digits[end..]);
    Some(out.freeze())
}

fn splice_revision(stored: &[u8], revision: u64) -> Bytes {
    let at = stored.windows(METADATA.len()).position(|window| window == METADATA);
    let Some(at) = at.map(|at| at + METADATA.len()) else { return Bytes::copy_from_slice(stored) };
    let mut out = BytesMut::with_capacity(stored.len() + 48);
    out.put_slice(&stored[..at]);
    out.put_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
    if stored.get(at) != Some(&b'}') {
        out.put_u8(b',');
    }
    out.put_slice(&stored[at..]);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_revision_is_spliced_into_the_objects_own_metadata() {
        for object in [
            json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "data": {"metadata": {}}}),
            json!({"apiVersion": "v1", "kind": "X", "metadata": {}}),
            json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a", "resourceVersion": "4"}}),
            json!({"a": {"metadata": {"x": 1}}, "apiVersion": "\"metadata\":{", "kind": "X", "metadata": {"name": "b"}}),
        ] {
            let item = Item::new("d/a".into(), &encode(&object), 7);
            let mut expect = object.clone();
            expect["metadata"]["resourceVersion"] = json!("7");
            assert_eq!(**item.value(), expect);
            assert_eq!(item.at_revision(9).value()["metadata"]["resourceVersion"], "9");
        }
    }
}
