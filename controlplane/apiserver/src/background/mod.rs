//! What the server does beside answering requests: first objects, its own Service, expiry of events, compaction, keys
//! of OpenID Connect issuers, aggregated roles.

mod bootstrap;
mod compaction;
mod expiry;
mod oidc;
mod own_service;
mod roles;

pub use bootstrap::{create, create_defaults};
pub use compaction::compact_history;
pub use expiry::expire_events;
pub use oidc::fetch_oidc_keys;
pub use own_service::publish;
pub use roles::aggregate_roles;
