//! Which part of the old object a part of the new one was. Upstream `apiserver/pkg/cel/common/equality.go`.

use serde_json::Value;

use super::{ListType, Schema};

/// The old value in the place of a new one, if there is one that can be told.
pub type Old<'a> = Option<&'a Value>;

/// The old value of a field.
pub(super) fn field<'a>(old: Old<'a>, name: &str) -> Old<'a> {
    old?.get(name)
}

/// The old value of an item: only lists of keyed items keep their identity.
#[must_use]
pub fn item<'a>(schema: &Schema, old: Old<'a>, new: &Value) -> Old<'a> {
    let ListType::Map(keys) = &schema.list_type else { return None };
    let items = old?.as_array()?;
    items
        .iter()
        .find(|item| keys.iter().all(|key| key_of(schema, item, key) == key_of(schema, new, key)))
}

/// A key, or its default when it is missing.
pub(super) fn key_of<'a>(schema: &'a Schema, item: &'a Value, key: &str) -> Option<&'a Value> {
    let default = || schema.items.as_ref()?.properties.get(key)?.default.as_ref();
    item.get(key).or_else(default)
}
