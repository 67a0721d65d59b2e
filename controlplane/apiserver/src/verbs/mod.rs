//! One file per API verb.

pub mod create;
pub mod delete;
pub mod delete_collection;
mod filter;
pub mod get;
pub mod list;
mod page;
mod past;
pub mod patch;
pub mod update;
pub mod watch;

pub use filter::Filter;
