//! Which requests webhooks and policies are about: rules, selectors, equivalent resources, conditions in CEL.

pub mod conditions;
pub mod equivalent;
pub mod expression;
pub mod rules;
pub mod selectors;
