//! Sizes as ranges, and what a schema says about the sizes of values.

use std::collections::BTreeMap;

use crate::types::Type;

/// How large the values of one node of a schema can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// Characters of a text, bytes, items or entries at most; 0 for everything else.
    pub elements_max: u64,
    /// An object's fields by escaped name.
    pub fields: BTreeMap<String, Extent>,
    /// Fields of all other names.
    pub others: Option<Box<Extent>>,
    /// A list's items, or a map's values.
    pub items: Option<Box<Extent>>,
    pub is_map: bool,
    /// A map's keys, where these have a length.
    pub keys: Option<Box<Extent>>,
}

/// The keys of a map of a definition: upstream gives them no length.
static KEYS: Extent = Extent {
    elements_max: 0,
    fields: BTreeMap::new(),
    others: None,
    items: None,
    is_map: false,
    keys: None,
};

/// How many elements a value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Size {
    pub(super) const ONE: Self = Self { min: 1, max: 1 };
    pub(super) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };
    /// What the union with anything replaces.
    pub(super) const NOTHING: Self = Self { min: u64::MAX, max: 0 };

    pub(super) fn exactly(count: usize) -> Self {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        Self { min: count, max: count }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// The cost of a walk over all elements at so much each.
    pub(super) fn walk(self, each: f64) -> u64 {
        part(self.max, each)
    }
}

/// A number times a factor, rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "estimates; the conversion back saturates"
)]
pub(super) fn part(number: u64, factor: f64) -> u64 {
    (number as f64 * factor).ceil() as u64
}

/// Where in the schema a value comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'e> {
    /// It was made by the expression.
    Nowhere,
    /// `None`: below something that the schema does not describe.
    At(Option<&'e Extent>),
}

/// One step down.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'s> {
    Field(&'s str),
    Items,
    Keys,
    /// Places of list items: no schema describes them.
    Indices,
}

impl<'e> Place<'e> {
    /// Upstream takes the first name of a path for the variable without looking at it: one step from nowhere is the root.
    pub(super) fn step(self, step: Step<'_>, root: &'e Extent) -> Self {
        let Self::At(at) = self else { return Self::At(Some(root)) };
        Self::At(at.and_then(|at| match step {
            Step::Field(name) => at.fields.get(name).or(at.others.as_deref()),
            Step::Items => at.items.as_deref(),
            Step::Keys => at.keys.as_deref().or(at.is_map.then_some(&KEYS)),
            Step::Indices => None,
        }))
    }

    pub(super) fn size(self) -> Option<Size> {
        match self {
            Self::At(Some(extent)) => Some(Size { min: 0, max: extent.elements_max }),
            Self::At(None) | Self::Nowhere => None,
        }
    }
}

/// Values of one size by nature.
pub(super) fn is_scalar(of: &Type) -> bool {
    match of {
        Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Timestamp | Type::Duration => {
            true
        }
        Type::Optional(inner) => is_scalar(inner),
        Type::Dyn
        | Type::Null
        | Type::String
        | Type::Bytes
        | Type::List(_)
        | Type::Map(..)
        | Type::Object(_)
        | Type::Type
        | Type::Opaque(_)
        | Type::Param(_) => false,
    }
}
