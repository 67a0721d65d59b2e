//! What the server does beside answering requests: first objects, its own Service, expiry of events, compaction.

mod bootstrap;
mod compaction;
mod expiry;
mod own_service;

pub use bootstrap::create_defaults;
pub use compaction::compact_history;
pub use expiry::expire_events;
pub use own_service::publish;
