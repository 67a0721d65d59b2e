//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy with their bindings. `compiled` is a policy ready to run,
//! `bound` finds the bindings and parameters for a request, `validating` and `mutating` run them.

mod apply_configuration;
mod bound;
mod check;
mod compiled;
pub mod mutating;
mod params;
mod type_check;
pub mod validating;

pub use check::check_expressions;
pub use compiled::Policies;
pub use type_check::warnings as type_warnings;
