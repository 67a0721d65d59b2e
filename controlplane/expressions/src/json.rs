//! Values from and to JSON.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value as Json;

use crate::value::{Key, Map, Opaque, Value};

impl From<&Json> for Value {
    /// JSON without a schema. Every object is a map whose keys stand as they are.
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::number(number),
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::list(items.iter().map(Self::from).collect()),
            Json::Object(fields) => {
                let entries = fields.iter();
                let entries: BTreeMap<Key, Value> = entries
                    .map(|(name, value)| (Key::Text(Arc::from(name.as_str())), Self::from(value)))
                    .collect();
                Self::Map(Arc::new(Map { entries, object: None }))
            }
        }
    }
}

impl Value {
    /// Text as a value of a schema's format: `timestamp`, `duration` or `bytes` (base64).
    #[must_use]
    pub fn parse(kind: &str, text: &str) -> Option<Self> {
        match kind {
            "timestamp" => text.parse().ok().map(Self::Timestamp),
            "duration" => crate::functions::times::parse_duration(text).map(Self::Duration),
            "bytes" => STANDARD.decode(text).ok().map(|bytes| Self::Bytes(bytes.into())),
            _ => None,
        }
    }

    /// A JSON number: `int` where it is whole.
    #[must_use]
    pub fn number(number: &serde_json::Number) -> Self {
        if let Some(value) = number.as_i64() {
            Self::Int(value)
        } else if let Some(value) = number.as_u64() {
            Self::Uint(value)
        } else {
            Self::Double(number.as_f64().unwrap_or(f64::NAN))
        }
    }

    /// JSON of a value: bytes in base64, times as RFC 3339, durations in seconds, quantities as text. Fields of objects get
    /// their own names back; an empty optional is `null`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Double(value) => Json::from(*value),
            Self::String(text) | Self::Type(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
            Self::List(list) => Json::Array(list.items.iter().map(Self::to_json).collect()),
            Self::Map(map) => {
                let name = |key: &Key| match key {
                    Key::Text(text) if map.object.is_some() => crate::unescape(text),
                    Key::Text(text) => text.to_string(),
                    Key::Bool(value) => value.to_string(),
                    Key::Int(value) => value.to_string(),
                    Key::Uint(value) => value.to_string(),
                };
                Json::Object(
                    map.entries.iter().map(|(key, value)| (name(key), value.to_json())).collect(),
                )
            }
            Self::Timestamp(time) => Json::String(time.to_string()),
            Self::Duration(duration) => {
                Json::String(crate::functions::times::duration_text(*duration))
            }
            Self::Optional(Some(value)) => value.to_json(),
            Self::Opaque(opaque) => match &**opaque {
                Opaque::Quantity(quantity) => Json::String(quantity.to_string()),
                Opaque::Url(url) => Json::String(url.to_string()),
                Opaque::Ip(ip) => Json::String(ip.to_string()),
                Opaque::Cidr(cidr) => Json::String(cidr.to_string()),
                Opaque::Semver(version) => Json::String(version.to_string()),
                Opaque::Format(name) => Json::String((*name).to_owned()),
                Opaque::Access(_) => Json::Null,
            },
        }
    }
}
