//! Validation of built-in kinds, upstream `pkg/apis/<group>/validation`.

mod metadata;

use serde_json::Value;

use super::problems::Problems;
use crate::Kind;

/// Collects all problems of an object, and of its change when there is an old one.
pub(super) fn validate(kind: &Kind, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    metadata::validate(kind, new, old, problems);
}
