//! An object that a webhook or policy changed becomes again what the kind says: unknown fields go, defaults come.

use api::{Status, rules};
use serde_json::Value;

use super::request::Request;
use crate::{
    body::{self, Decoded, Validation},
    errors,
};

/// Brings a changed object into form. Unknown fields go silently, as upstream's decoder drops them.
pub fn settle(request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    let kind = request.kind();
    let is_own = request.object_kind.kind == kind.kind && request.object_kind.group == kind.group;
    if !is_own {
        return Ok(());
    }
    if !object.is_object() {
        return Err(errors::internal("a mutation left no object"));
    }
    let decoded = Decoded { object: object.take(), duplicates: Vec::new(), typed: false };
    (*object, _) = body::check(kind, decoded, Validation::Ignore)?;
    rules::set_defaults(kind, object);
    crate::custom::set_defaults(kind, object);
    Ok(())
}
