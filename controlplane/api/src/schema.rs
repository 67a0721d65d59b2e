//! The schema table: for each message its fields with JSON name, protobuf number, type and merge rules.
//!
//! `schema/types.txt` is written by the crate `schemagen` and parsed once, at first use.

mod check;
mod docs;
mod normalize;
mod openapi;
mod parse;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use check::{check_types, unknown_fields};
pub use docs::describe;
pub use normalize::{fill_required, normalize};
pub use openapi::openapi_components;

/// A message: an API kind or a part of one.
#[derive(Debug, Clone)]
pub struct Message {
    /// OpenAPI component name: `io.k8s.api.core.v1.Pod`.
    pub name: String,
    /// `v1`, `apps/v1`: of the package.
    pub api_version: &'static str,
    /// Has `apiVersion` and `kind`.
    pub is_kind: bool,
    /// Server-side apply treats it as one value.
    pub is_atomic: bool,
    /// By protobuf number, inlined messages as one field.
    pub fields: Vec<Field>,
    /// By JSON name, inlined messages expanded.
    flat: HashMap<&'static str, Field>,
}

/// One field of a message.
#[derive(Debug, Clone)]
pub struct Field {
    /// JSON name.
    pub name: &'static str,
    pub number: u32,
    pub shape: Shape,
    pub kind: Type,
    /// Absence differs from the zero value.
    pub is_pointer: bool,
    pub omit_empty: bool,
    pub omit_zero: bool,
    pub is_inline: bool,
    pub is_required: bool,
    /// `merge`, `replace`, `merge,retainKeys`, or "".
    pub patch_strategy: &'static str,
    pub patch_key: &'static str,
    /// `atomic`, `map`, `set`, or "".
    pub list_type: &'static str,
    pub list_keys: Vec<&'static str>,
    /// `atomic` or "": of a field that holds a message or a map.
    pub struct_type: &'static str,
    pub default: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    One,
    List,
    Map,
}

/// What a field holds. The special types have a JSON form that is not their protobuf message's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Text,
    Bool,
    Int32,
    Int64,
    Double,
    Bytes,
    Time,
    MicroTime,
    Duration,
    FieldsV1,
    /// A message with one repeated string, in JSON a list.
    TextList,
    Quantity,
    IntOrString,
    RawExtension,
    /// Any JSON.
    Json,
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrTexts,
    /// Index into the table.
    Message(usize),
}

struct Table {
    messages: Vec<Message>,
    by_name: HashMap<String, usize>,
    /// By `apiVersion/kind`.
    by_kind: HashMap<String, usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let messages = parse::parse(include_str!("../schema/types.txt"));
    let by_name = messages.iter().enumerate().map(|(at, m)| (m.name.clone(), at)).collect();
    let by_kind = messages
        .iter()
        .enumerate()
        .filter(|(_, message)| message.is_kind)
        .map(|(at, message)| (kind_key(message.api_version, message.short_name()), at))
        .collect();
    Table { messages, by_name, by_kind }
});

/// The API version of the messages that every group shares (`DeleteOptions`, `Status`, ...).
const META_VERSION: &str = "meta.k8s.io/v1";
const SCHEMA_PROPS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// The message with a component name.
#[must_use]
pub fn message(name: &str) -> Option<&'static Message> {
    TABLE.by_name.get(name).map(|at| &TABLE.messages[*at])
}

fn kind_key(api_version: &str, kind: &str) -> String {
    format!("{api_version}/{kind}")
}

/// The message of an API kind. Options, `Status`, `Scale` and such belong to every group version.
#[must_use]
pub fn message_of(api_version: &str, kind: &str) -> Option<&'static Message> {
    let find =
        |version: &str| TABLE.by_kind.get(&kind_key(version, kind)).map(|at| &TABLE.messages[*at]);
    find(api_version).or_else(|| find(META_VERSION))
}

/// Every message that is a kind.
pub fn kind_messages() -> impl Iterator<Item = &'static Message> {
    TABLE.messages.iter().filter(|message| message.is_kind)
}

/// The message of CRD schemas, which the `...Or...` types refer to.
#[must_use]
pub(crate) fn schema_props() -> &'static Message {
    message(SCHEMA_PROPS).expect("the table has the CRD messages")
}

impl Message {
    /// `Pod`.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// The field with a JSON name, looking through inlined messages.
    #[must_use]
    pub fn field(&self, json_name: &str) -> Option<&Field> {
        self.flat.get(json_name)
    }

    /// All JSON fields, inlined messages expanded.
    pub fn json_fields(&self) -> impl Iterator<Item = &Field> {
        self.flat.values()
    }
}

impl Field {
    /// The message a field holds (also within a list or map).
    #[must_use]
    pub fn message(&self) -> Option<&'static Message> {
        match self.kind {
            Type::Message(at) => Some(&TABLE.messages[at]),
            _ => None,
        }
    }
}
