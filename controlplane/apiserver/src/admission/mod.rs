//! Admission: what changes and what refuses a request between its decoding and the store. `chain` has the order,
//! every plugin is one file or one folder.

mod access_review;
mod certificates;
mod chain;
mod config;
mod default_ingress_class;
mod deny_external_ips;
mod event_rate;
mod extended_resources;
mod lifecycle;
mod limit_ranger;
mod matching;
mod node_taints;
mod owner_references;
mod pod_security;
mod policy;
mod priority;
mod quota;
mod registration;
mod reinvocation;
mod request;
mod resize;
mod runtime_class;
mod service_account;
mod service_address;
mod settle;
mod state;
mod storage_class;
mod storage_protection;
mod tolerations;
mod verbs;
mod webhook;

pub use certificates::keep_requester;
pub use chain::{Charge, charge, mutate, validate};
pub use config::AdmissionConfig;
pub use event_rate::EventLimits;
pub use pod_security::PodSecurity;
pub use registration::fill_status;
pub use request::Request;
pub use service_address::{allocate_new, allocate_updated, reserve_for_update};
pub use state::State;
pub use verbs::{connect, delete, posted};
