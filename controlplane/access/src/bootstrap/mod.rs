//! The objects that a new cluster starts with.

use std::time::Duration;

use serde_json::Value;

/// Everything that must exist, in an order that can be created one by one. Create what is missing; leave the rest.
#[must_use]
pub fn default_objects() -> Vec<Value> {
    todo!()
}

/// `kube-public/cluster-info`: where a joining node finds the server and its CA.
#[must_use]
pub fn cluster_info(_server_url: &str, _ca_pem: &str) -> Value {
    todo!()
}

/// A new bootstrap token (`abcdef.0123456789abcdef`) and its Secret in kube-system; `ttl` `None`: it never expires.
#[must_use]
pub fn bootstrap_token(_ttl: Option<Duration>) -> (String, Value) {
    todo!()
}
