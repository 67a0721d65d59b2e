//! The Kubernetes API server: routes, verbs, admission and the watch cache over a [`store::Store`].
//!
//! Start it with [`Server::start`]. Everything that is Kubernetes without a server lives in crate `api`, everything
//! about identity in crate `access`.

#![allow(
    clippy::result_large_err,
    reason = "a Status is built once per failed request and answered at once"
)]

mod accept;
mod admission;
mod aggregation;
mod app;
mod asked;
pub mod audit;
mod background;
mod body;
mod cache;
mod call;
mod clock;
mod commit;
mod config;
mod convert;
mod custom;
mod devices;
mod discovery;
mod errors;
mod flow;
mod keys;
mod measured;
mod metrics;
mod metrics_api;
mod openapi;
mod query;
mod reach;
mod registry;
mod respond;
mod reviews;
mod route;
mod serve;
mod server;
mod subresources;
mod trace;
mod verbs;

pub use admission::{AdmissionConfig, EventLimits, PodSecurity};
pub use config::{Config, StoreKind};
pub use server::{Handle, Server};
