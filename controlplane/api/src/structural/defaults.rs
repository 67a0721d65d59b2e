//! Defaults of missing fields. Upstream `schema/defaulting`.

use serde_json::Value;

use super::Schema;

/// Fills in defaults, at every level that is there.
pub fn set_defaults(schema: &Schema, value: &mut Value) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, of) in &schema.properties {
                let Some(default) = &of.default else { continue };
                let missing =
                    fields.get(name).is_none_or(|present| present.is_null() && !of.nullable);
                if missing {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(of) = schema.field(name) {
                    set_defaults(of, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(of) = &schema.items else { return };
            for item in items {
                if item.is_null()
                    && !of.nullable
                    && let Some(default) = &of.default
                {
                    *item = default.clone();
                }
                set_defaults(of, item);
            }
        }
        _ => {}
    }
}
