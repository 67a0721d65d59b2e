//! Lists whose items must differ: sets and maps. Upstream `schema/listtype`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{ListType, Schema, correlate};
use crate::rules::problems::Problems;

/// Duplicates among the items of one list.
pub(super) fn check(schema: &Schema, items: &[Value], path: &str, problems: &mut Problems) {
    let mut seen = HashSet::new();
    match &schema.list_type {
        ListType::Atomic => {}
        ListType::Set => {
            for (index, item) in items.iter().enumerate() {
                if !seen.insert(item.to_string()) {
                    problems.duplicate(&format!("{path}[{index}]"), item);
                }
            }
        }
        ListType::Map(keys) => {
            for (index, item) in items.iter().enumerate() {
                let found = keys.iter().filter_map(|key| {
                    correlate::key_of(schema, item, key).map(|value| (key.clone(), value.clone()))
                });
                let identity = Value::Object(found.collect::<Map<_, _>>());
                if !seen.insert(identity.to_string()) {
                    problems.duplicate(&format!("{path}[{index}]"), &identity);
                }
            }
        }
    }
}
