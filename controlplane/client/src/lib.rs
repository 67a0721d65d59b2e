//! What every client of the API server shares on top of kube-rs: connecting, informers, retries, events.
//!
//! Owns no policy of any kind of object. Controllers, scheduler, node agent and command line use it.

pub mod config;
pub mod events;
pub mod informer;
#[doc(hidden)]
pub mod kinds;
pub mod leader;
pub mod metrics;
pub mod retry;
pub mod selector;

pub use config::{Credentials, Endpoint, connect, load};
pub use events::{Recorder, Severity};
pub use informer::{Change, Informer};
pub use retry::{
    is_already_exists, is_conflict, is_namespace_terminating, is_not_found, retry_on_conflict,
};
