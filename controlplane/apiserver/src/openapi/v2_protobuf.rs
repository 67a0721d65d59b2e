//! A Swagger document in the protobuf form that kubectl and client libraries ask for: gnostic's `openapi.v2.Document`.
//! Field numbers are those of its published OpenAPIv2.proto.

use serde_json::{Map, Value};

/// The media type that clients ask for.
pub const MEDIA: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text; none when empty.
    fn text(&mut self, number: u64, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u64, list: &Value) {
        for text in list.as_array().into_iter().flatten() {
            self.text(number, text);
        }
    }

    fn flag(&mut self, number: u64, value: &Value) {
        if value == &Value::Bool(true) {
            self.varint(number << 3);
            self.varint(1);
        }
    }

    fn integer(&mut self, number: u64, value: &Value) {
        if let Some(value) = value.as_i64() {
            self.varint(number << 3);
            self.varint(value as u64);
        }
    }

    fn number(&mut self, number: u64, value: &Value) {
        if let Some(value) = value.as_f64() {
            self.varint(number << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn message(&mut self, number: u64, inner: &Self) {
        self.bytes(number, &inner.0);
    }

    /// Any value, written as JSON, which is YAML.
    fn any(&mut self, number: u64, value: &Value) {
        if value.is_null() {
            return;
        }
        let mut any = Self::default();
        any.bytes(2, value.to_string().as_bytes());
        self.message(number, &any);
    }

    /// `NamedX { name = 1, value = 2 }`.
    fn named(&mut self, number: u64, name: &str, value: &Self) {
        let mut named = Self::default();
        named.bytes(1, name.as_bytes());
        named.message(2, value);
        self.message(number, &named);
    }

    /// The `x-` keys.
    fn extensions(&mut self, number: u64, fields: &Value) {
        for (name, value) in fields.as_object().into_iter().flatten() {
            if name.starts_with("x-") {
                let mut any = Self::default();
                any.bytes(2, value.to_string().as_bytes());
                self.named(number, name, &any);
            }
        }
    }
}

/// The document's bytes.
#[must_use]
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    out.message(2, &info);
    let mut paths = Message::default();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        paths.named(2, path, &path_item(item));
    }
    out.message(8, &paths);
    let none = Map::new();
    out.message(9, &schemas(document["definitions"].as_object().unwrap_or(&none)));
    out.0
}

/// `Definitions` and `Properties` have the same form.
fn schemas(named: &Map<String, Value>) -> Message {
    let mut out = Message::default();
    for (name, value) in named {
        out.named(1, name, &schema(value));
    }
    out
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    for (number, key) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description")] {
        out.text(number, &value[key]);
    }
    out.any(5, &value["default"]);
    for (number, key) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        out.number(number, &value[key]);
    }
    out.flag(8, &value["exclusiveMaximum"]);
    out.flag(10, &value["exclusiveMinimum"]);
    out.integer(11, &value["maxLength"]);
    out.integer(12, &value["minLength"]);
    out.text(13, &value["pattern"]);
    out.integer(14, &value["maxItems"]);
    out.integer(15, &value["minItems"]);
    out.flag(16, &value["uniqueItems"]);
    out.integer(17, &value["maxProperties"]);
    out.integer(18, &value["minProperties"]);
    out.texts(19, &value["required"]);
    for one in value["enum"].as_array().into_iter().flatten() {
        out.any(20, one);
    }
    schema_parts(&mut out, value);
    out.extensions(31, value);
    out
}

fn schema_parts(out: &mut Message, value: &Value) {
    match &value["additionalProperties"] {
        Value::Null => {}
        Value::Bool(allowed) => {
            let mut item = Message::default();
            item.varint(2 << 3);
            item.varint(u64::from(*allowed));
            out.message(21, &item);
        }
        inner => {
            let mut item = Message::default();
            item.message(1, &schema(inner));
            out.message(21, &item);
        }
    }
    if value["type"].is_string() {
        let mut kind = Message::default();
        kind.text(1, &value["type"]);
        out.message(22, &kind);
    }
    if value["items"].is_object() {
        let mut items = Message::default();
        items.message(1, &schema(&value["items"]));
        out.message(23, &items);
    }
    if let Some(properties) = value["properties"].as_object() {
        out.message(25, &schemas(properties));
    }
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(number, &operation(&item[method]));
        }
    }
    for one in item["parameters"].as_array().into_iter().flatten() {
        out.message(9, &parameter(one));
    }
    out
}

fn operation(value: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &value["tags"]);
    out.text(3, &value["description"]);
    out.text(5, &value["operationId"]);
    out.texts(6, &value["produces"]);
    out.texts(7, &value["consumes"]);
    for one in value["parameters"].as_array().into_iter().flatten() {
        out.message(8, &parameter(one));
    }
    let mut responses = Message::default();
    for (code, response) in value["responses"].as_object().into_iter().flatten() {
        let mut inner = Message::default();
        inner.text(1, &response["description"]);
        if response["schema"].is_object() {
            let mut item = Message::default();
            item.message(1, &schema(&response["schema"]));
            inner.message(2, &item);
        }
        let mut choice = Message::default();
        choice.message(1, &inner);
        responses.named(1, code, &choice);
    }
    out.message(9, &responses);
    out.texts(10, &value["schemes"]);
    out.extensions(13, value);
    out
}

/// `ParametersItem { parameter = 1 }` around a body, query or path parameter.
fn parameter(value: &Value) -> Message {
    let mut inner = Message::default();
    let place = value["in"].as_str().unwrap_or_default();
    let mut choice = Message::default();
    if place == "body" {
        inner.text(2, &value["name"]);
        inner.text(3, &value["in"]);
        inner.flag(4, &value["required"]);
        inner.message(5, &schema(&value["schema"]));
        choice.message(1, &inner);
    } else {
        // Queries have one more field than paths, which moves what follows it by one.
        let (kind, more) = if place == "query" { (3, 1) } else { (4, 0) };
        inner.flag(1, &value["required"]);
        inner.text(2, &value["in"]);
        inner.text(3, &value["description"]);
        inner.text(4, &value["name"]);
        inner.text(5 + more, &value["type"]);
        inner.flag(19 + more, &value["uniqueItems"]);
        let mut other = Message::default();
        other.message(kind, &inner);
        choice.message(2, &other);
    }
    let mut item = Message::default();
    item.message(1, &choice);
    item
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_small_document_is_these_bytes() {
        let document = json!({"swagger": "2.0", "info": {"title": "K", "version": "1"}, "paths": {},
            "definitions": {"A": {"type": "object", "required": ["x"], "properties": {"x": {"$ref": "#/d"}}, "x-y": 1}}});
        let bytes = encode(&document);
        let expected: &[u8] = b"\x0a\x032.0\x12\x06\x0a\x01K\x12\x011\x42\x00\x4a\x32\x0a\x30\x0a\x01A\x12\x2b\
            \x9a\x01\x01x\xb2\x01\x08\x0a\x06object\xca\x01\x0d\x0a\x0b\x0a\x01x\x12\x06\x0a\x03\x23/d\
            \xfa\x01\x08\x0a\x03x-y\x12\x01";
        // The last message is the extension's value, a text of YAML.
        assert_eq!(bytes[..20], expected[..20]);
        assert!(bytes.ends_with(b"\x0a\x03x-y\x12\x03\x12\x011"));
        assert!(bytes.windows(8).any(|part| part == b"\x0a\x06object"));
    }
}
