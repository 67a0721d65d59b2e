//! The node agent: what a kubelet is, for pods that are microVMs.

pub mod api;
pub mod config;
pub mod http_client;
pub mod identity;
pub mod logs;
pub mod node;
pub mod pods;
pub mod ports;
pub mod recorder;
pub mod services;
pub mod shared;
pub mod stages;
pub mod wire_up;

/// The Kubernetes version that nodes report.
pub const KUBELET_VERSION: &str = "v1.36.4+bulkhead";
