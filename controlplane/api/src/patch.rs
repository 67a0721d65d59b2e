//! The four patch formats.

pub mod apply;
mod strategic;

use serde_json::Value;

use crate::{Reason, Status};

pub use strategic::strategic_merge;

/// Upstream refuses longer JSON patches.
const OPERATIONS_MAX: usize = 10_000;

/// RFC 6902. Errors are `Invalid` or `BadRequest`, worded as upstream.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, Status> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|error| {
        Status::new(Reason::BadRequest, format!("error decoding patch: {error}"))
    })?;
    if operations.0.len() > OPERATIONS_MAX {
        return Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!(
                "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                operations.0.len()
            ),
        ));
    }
    let mut patched = object.clone();
    // The one that undoes what it did before an error panics over some of its own errors, and ours is a copy anyway.
    json_patch::patch_unsafe(&mut patched, &operations.0).map_err(|error| {
        let message = "the server rejected our request due to an error in our request";
        Status::new(Reason::Invalid, format!("{message}: {error}"))
    })?;
    Ok(patched)
}

/// RFC 7386.
#[must_use]
pub fn merge_patch(object: &Value, patch: &Value) -> Value {
    let mut merged = object.clone();
    json_patch::merge(&mut merged, patch);
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_patches() {
        let object = json!({"spec": {"a": [1, 2]}});
        let patched =
            json_patch(&object, &json!([{"op": "add", "path": "/spec/a/-", "value": 3}])).unwrap();
        assert_eq!(patched, json!({"spec": {"a": [1, 2, 3]}}));
        let failed = json_patch(&object, &json!([{"op": "test", "path": "/spec/a", "value": 3}]))
            .unwrap_err();
        assert_eq!(failed.reason, Reason::Invalid);
        let bad = json_patch(&object, &json!({"op": "add"})).unwrap_err();
        assert_eq!(bad.reason, Reason::BadRequest);
    }

    #[test]
    fn merge_patches() {
        let object = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        let patch = json!({"a": {"b": null, "e": {"f": null}}, "d": [2]});
        assert_eq!(merge_patch(&object, &patch), json!({"a": {"c": 2, "e": {}}, "d": [2]}));
    }
}
