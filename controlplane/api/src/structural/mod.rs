//! Structural schemas: what a CustomResourceDefinition says about its objects, and what follows for them: pruning, defaults,
//! validation. Upstream `apiextensions-apiserver/pkg/apiserver/schema`. CEL rules are evaluated elsewhere.

mod correlate;
mod defaults;
mod formats;
mod lists;
mod nulls;
mod parse;
mod prune;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

pub use correlate::{Old, item as old_item};
pub use defaults::set_defaults;
pub use formats::format_problem;
pub use nulls::drop_nulls;
pub use parse::parse;
pub use prune::{embedded_problems, prune};
pub use validate::validate;

/// A served version of a definition, with what requests need of it.
#[derive(Debug, Clone, Default)]
pub struct Custom {
    /// `openAPIV3Schema` as written; what OpenAPI publishes.
    pub raw: Value,
    pub schema: Schema,
    /// Stored objects may differ from what this version serves: defaults, pruning and `apiVersion` are applied when read.
    pub rewrite_on_read: bool,
    /// JSON paths of the scale subresource, without the leading dot.
    pub scale: Option<ScalePaths>,
    /// The `webhook` of `spec.conversion`, where the strategy is `Webhook`.
    pub webhook: Option<Value>,
    /// Metadata of the definition that made this row: name and generation.
    pub definition: (String, i64),
}

/// Where a custom resource keeps what `autoscaling/v1` Scale shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScalePaths {
    pub spec_replicas: String,
    pub status_replicas: String,
    pub label_selector: Option<String>,
}

/// One node of a schema.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// `object`, `array`, `string`, ...; empty where there is none.
    pub kind: String,
    pub nullable: bool,
    pub default: Option<Value>,
    pub properties: BTreeMap<String, Schema>,
    pub items: Option<Box<Schema>>,
    pub additional: Additional,
    pub preserve_unknown: bool,
    pub embedded: bool,
    pub int_or_string: bool,
    pub list_type: ListType,
    pub checks: Checks,
    /// `x-kubernetes-validations` as written.
    pub rules: Vec<Value>,
    /// Some node here or below has rules.
    pub has_rules: bool,
    /// Some node here or below has a default.
    pub has_defaults: bool,
}

/// `additionalProperties`.
#[derive(Debug, Clone, Default)]
pub enum Additional {
    #[default]
    None,
    Any,
    Of(Box<Schema>),
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    /// The fields that tell items apart.
    Map(Vec<String>),
}

/// What a value is checked against beyond its type.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    pub format: String,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<Regex>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub required: Vec<String>,
    pub choices: Vec<Value>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

impl Schema {
    /// The schema of a field: its own, or that of additional ones.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(match &self.additional {
            Additional::Of(schema) => Some(schema),
            _ => None,
        })
    }

    /// A field that may be there although no schema speaks of it.
    fn keeps(&self, name: &str, root: bool) -> bool {
        let identity =
            (root || self.embedded) && matches!(name, "apiVersion" | "kind" | "metadata");
        self.preserve_unknown || matches!(self.additional, Additional::Any) || identity
    }
}

/// `path.name`, without a leading dot.
fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests;
