//! Who may do what: certificates, tokens, authentication, authorization and the objects a new cluster starts with.
//!
//! Nothing here listens or stores. Objects come through [`Lookup`], which the API server implements over its watch
//! cache; every answer is computed from what it holds at that moment.

#![allow(
    clippy::result_large_err,
    reason = "api::Status is the error of every request and is made once per refusal"
)]

pub mod authn;
pub mod authz;
pub mod bootstrap;
mod lookup;
pub mod pki;
pub mod tokens;
mod user;

pub use lookup::Lookup;
pub use user::{User, names};
