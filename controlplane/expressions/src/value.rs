//! Values of expressions: cheap to clone, compared as CEL compares.

use std::{cmp::Ordering, collections::BTreeMap, net::IpAddr, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use crate::functions::authorizer::AccessHandle;

/// A value of an expression.
#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<List>),
    Map(Arc<Map>),
    Timestamp(Timestamp),
    Duration(SignedDuration),
    Type(Arc<str>),
    Optional(Option<Arc<Value>>),
    Opaque(Arc<Opaque>),
}

/// A list and how it is compared and added (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Default)]
pub struct List {
    pub items: Vec<Value>,
    pub kind: ListKind,
}

/// Upstream `common/values.go`: sets and associative lists ignore order.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    /// The fields that tell items apart; escaped names.
    Map(Vec<String>),
}

/// A map or an object. An object's keys are escaped field names.
#[derive(Debug, Clone, Default)]
pub struct Map {
    pub entries: BTreeMap<Key, Value>,
    /// The object's type; `None` for a map.
    pub object: Option<Arc<str>>,
}

/// What a map may be keyed by. Whole numbers are one kind: `1 == 1u`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Int(i64),
    /// Above the largest `int`.
    Uint(u64),
    Text(Arc<str>),
}

/// Values of Kubernetes' library.
#[derive(Debug, Clone)]
pub enum Opaque {
    Quantity(api::quantity::Quantity),
    Url(url::Url),
    Ip(IpAddr),
    Cidr(ipnet::IpNet),
    Semver(semver::Version),
    Format(&'static str),
    Access(AccessHandle),
}

impl Opaque {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Access(handle) => handle.type_name(),
        }
    }
}

impl Value {
    #[must_use]
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::String(Arc::from(text.as_ref()))
    }

    #[must_use]
    pub fn list(items: Vec<Value>) -> Self {
        Self::List(Arc::new(List { items, kind: ListKind::Atomic }))
    }

    #[must_use]
    pub fn some(value: Value) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    pub(crate) fn opaque(value: Opaque) -> Self {
        Self::Opaque(Arc::new(value))
    }

    /// True only for the bool `true`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// The text of a string.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The part of a list, map or object under an index or (escaped) field name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Map(map) => map.entries.get(&Key::Text(Arc::from(name))),
            _ => None,
        }
    }

    #[must_use]
    pub fn item(&self, index: usize) -> Option<&Value> {
        match self {
            Self::List(list) => list.items.get(index),
            _ => None,
        }
    }

    /// The name of its type as `type(x)` gives it.
    #[must_use]
    pub fn type_name(&self) -> Arc<str> {
        Arc::from(match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(map) => map.object.as_deref().unwrap_or("map"),
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Opaque(opaque) => opaque.type_name(),
        })
    }

    pub(crate) fn key(&self) -> Option<Key> {
        Some(match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int(*value),
            Self::Uint(value) => i64::try_from(*value).map_or(Key::Uint(*value), Key::Int),
            Self::String(text) => Key::Text(text.clone()),
            #[expect(clippy::cast_possible_truncation, reason = "only whole numbers in range pass")]
            Self::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
                Key::Int(*value as i64)
            }
            _ => return None,
        })
    }

    /// Order of two values of comparable types.
    #[must_use]
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Uint(a), Self::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (a, b) => a.as_double()?.partial_cmp(&b.as_double()?),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "CEL compares numbers of different types as doubles"
    )]
    fn as_double(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Uint(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(a), Self::List(b)) => lists_equal(a, b),
            (Self::Map(a), Self::Map(b)) => a.entries == b.entries,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (a, b) => a.compare(b) == Some(Ordering::Equal),
        }
    }
}

impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a.cmp(b) == Ordering::Equal,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => a == b,
            _ => false,
        }
    }
}

fn lists_equal(a: &List, b: &List) -> bool {
    if a.items.len() != b.items.len() {
        return false;
    }
    match (&a.kind, &b.kind) {
        (ListKind::Atomic, ListKind::Atomic) => a.items == b.items,
        (ListKind::Set, _) | (_, ListKind::Set) => {
            a.items.iter().all(|item| b.items.contains(item))
        }
        (ListKind::Map(keys), _) | (_, ListKind::Map(keys)) => a.items.iter().all(|item| {
            b.items
                .iter()
                .find(|other| same_item(item, other, keys))
                .is_some_and(|other| item == other)
        }),
    }
}

/// Whether two items of an associative list have the same keys.
pub(crate) fn same_item(one: &Value, other: &Value, keys: &[String]) -> bool {
    keys.iter().all(|key| one.field(key) == other.field(key))
}
