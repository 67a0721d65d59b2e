//! What the Kubernetes API is, without a server: kinds, objects, wire formats, patches, selectors, errors.
//!
//! Pure code: no I/O, no clock, no async. Objects are [`serde_json::Value`] trees; typed structs only where a rule
//! needs them. One schema table (field names, numbers, types, merge rules) drives protobuf, strategic merge,
//! server-side apply, unknown-field checks and OpenAPI.

#![allow(
    clippy::result_large_err,
    reason = "a refusal is rare and ends its request; Status stays plain data"
)]

pub mod columns;
pub mod kind;
pub mod meta;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod resources;
pub mod rules;
pub mod schema;
pub mod selector;
pub mod status;
pub mod structural;
pub mod time;
pub mod zone;

pub use kind::{Kind, Scope, kinds};
pub use status::{Reason, Status};

/// An API object.
pub type Object = serde_json::Value;
