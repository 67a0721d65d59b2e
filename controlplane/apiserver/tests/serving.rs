//! What the server does beside objects: proxies, other servers, audit, flow control, health, identity, usage. One
//! binary, because each links the whole server.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "serving/aggregation.rs"]
mod aggregation;
#[path = "serving/audit.rs"]
mod audit;
mod common;
#[path = "serving/fairness.rs"]
mod fairness;
#[path = "serving/health.rs"]
mod health;
#[path = "serving/identity.rs"]
mod identity;
#[path = "serving/metrics_api.rs"]
mod metrics_api;
#[path = "serving/proxy.rs"]
mod proxy;
