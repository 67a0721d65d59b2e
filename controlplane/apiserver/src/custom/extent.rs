//! How large the values of a schema can be in one request: what the cost of a rule is estimated from. Pure.
//! Upstream `apiserver/pkg/cel/common/schemas.go` and `apiserver/pkg/cel/limits.go`.

use std::collections::BTreeMap;

use api::structural::{Additional, Schema};
use expressions::{Extent, escape};
use serde_json::Value;

/// Bytes of a request, as the estimate has them.
const REQUEST_MAX: u64 = 3 << 20;
/// Of texts that nothing bounds: the quotes stand beside them.
const TEXT_MAX: u64 = REQUEST_MAX - 2;
/// Bytes of a character at most: schemas count characters.
const CHARACTER_MAX: u64 = 4;
const DURATION_MAX: u64 = 32;
const DATE_TIME_MAX: u64 = 32;
const DATE: u64 = 12;

/// The values of one node.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub extent: Extent,
    /// Bytes of the shortest one in JSON.
    pub bytes_min: u64,
}

impl Measured {
    /// How often such a value fits into a request, with a comma each.
    #[must_use]
    pub fn count_max(&self) -> u64 {
        REQUEST_MAX / (self.bytes_min + 1)
    }

    fn of(elements_max: u64, bytes_min: u64) -> Self {
        Self { extent: Extent { elements_max, ..Extent::default() }, bytes_min }
    }
}

/// The values of a node; `None` where rules cannot see them. `root`: the node is a whole resource.
#[must_use]
pub fn measure(schema: &Schema, root: bool) -> Option<Measured> {
    let longest = schema.checks.max_length.map(|length| length.saturating_mul(CHARACTER_MAX));
    if schema.int_or_string {
        return Some(Measured::of(longest.unwrap_or(TEXT_MAX), 1));
    }
    Some(match schema.kind.as_str() {
        "array" => list(schema)?,
        "object" => match &schema.additional {
            Additional::Of(of) => map(schema, of)?,
            _ => object(schema, root),
        },
        "string" => match schema.checks.format.as_str() {
            "byte" => Measured::of(schema.checks.max_length.unwrap_or(TEXT_MAX), 2),
            "duration" => Measured::of(DURATION_MAX, 3),
            "date" => Measured::of(DATE, DATE),
            "date-time" => Measured::of(DATE_TIME_MAX, 21),
            _ => Measured::of(longest.unwrap_or_else(|| text_max(&schema.checks.choices)), 2),
        },
        "boolean" => Measured::of(0, 4),
        "number" | "integer" => Measured::of(0, 1),
        _ => return None,
    })
}

/// The longest of the texts that an enumeration allows.
fn text_max(choices: &[Value]) -> u64 {
    if choices.is_empty() {
        return TEXT_MAX;
    }
    let longest = choices.iter().filter_map(Value::as_str).map(str::len).max();
    longest.map_or(0, |length| length as u64)
}

fn list(schema: &Schema) -> Option<Measured> {
    let item = measure(schema.items.as_ref()?, false)?;
    let fitting = (REQUEST_MAX - 2) / (item.bytes_min + 1);
    let extent = Extent {
        elements_max: schema.checks.max_items.unwrap_or(fitting),
        items: Some(Box::new(item.extent)),
        ..Extent::default()
    };
    Some(Measured { extent, bytes_min: 2 })
}

fn map(schema: &Schema, of: &Schema) -> Option<Measured> {
    let value = measure(of, false)?;
    // The shortest key with its quotes, colon and comma.
    let fitting = (REQUEST_MAX - 2) / (value.bytes_min + 6);
    let extent = Extent {
        elements_max: schema.checks.max_properties.unwrap_or(fitting),
        items: Some(Box::new(value.extent)),
        is_map: true,
        ..Extent::default()
    };
    Some(Measured { extent, bytes_min: 2 })
}

fn object(schema: &Schema, root: bool) -> Measured {
    let (mut fields, mut bytes_min) = (BTreeMap::new(), 2);
    for (name, of) in &schema.properties {
        let Some(field) = measure(of, false) else { continue };
        // Defaults need not be sent.
        if schema.checks.required.contains(name) && of.default.is_none() {
            bytes_min += name.len() as u64 + field.bytes_min + 4;
        }
        if let Some(escaped) = escape(name) {
            fields.insert(escaped, field.extent);
        }
    }
    if root || schema.embedded {
        let text = || Measured::of(TEXT_MAX, 2).extent;
        let names = ["name", "generateName"].map(|name| (name.to_owned(), text()));
        let metadata = Extent { fields: names.into(), ..Extent::default() };
        let identity = [("kind", text()), ("apiVersion", text()), ("metadata", metadata)];
        fields.extend(identity.map(|(name, extent)| (name.to_owned(), extent)));
    }
    Measured { extent: Extent { fields, ..Extent::default() }, bytes_min }
}
