//! Nulls where the schema allows none. Upstream `PruneNonNullableNullsWithoutDefaults`.

use serde_json::Value;

use super::Schema;

/// Removes fields that are null although they may not be and have no default.
pub fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let Some(of) = schema.field(name) else { return true };
                !(value.is_null() && !of.nullable && of.default.is_none())
            });
            for (name, value) in fields.iter_mut() {
                if let Some(of) = schema.field(name) {
                    drop_nulls(of, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = &schema.items {
                items.iter_mut().for_each(|item| drop_nulls(of, item));
            }
        }
        _ => {}
    }
}
