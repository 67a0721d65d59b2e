//! Label and field selectors: parsing of the query-parameter forms and matching against objects.

mod fields;
mod labels;

pub use fields::Fields;
pub use labels::{Labels, Operator, Requirement};
