//! Server-side apply and the bookkeeping of `metadata.managedFields` for every write.

use serde_json::Value;

use crate::{Kind, Status};

/// Who writes, and how.
#[derive(Debug, Clone)]
pub struct Writer<'a> {
    pub manager: &'a str,
    pub subresource: &'a str,
    /// RFC 3339, seconds.
    pub now: &'a str,
    pub force: bool,
}

/// Applies a configuration. `live` is `None` when the object does not exist. 409 with `FieldManagerConflict`
/// causes on conflict.
pub fn apply(
    _kind: &Kind,
    _live: Option<&Value>,
    _config: &Value,
    _writer: &Writer<'_>,
) -> Result<Value, Status> {
    todo!("owned by the api crate's author")
}

/// Updates `managedFields` of `new` after a create, update or patch by `writer`.
pub fn track(_kind: &Kind, _old: Option<&Value>, _new: &mut Value, _writer: &Writer<'_>) {}
