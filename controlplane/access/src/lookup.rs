//! The view of stored objects that decisions are made on.

use std::sync::Arc;

use serde_json::Value;

/// Read access to the newest objects the server knows. An object behind an `Arc` never changes: a write replaces it.
pub trait Lookup: Send + Sync {
    /// One object; `namespace` is "" for cluster-scoped resources, `group` "" for core.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// All objects of a resource, of one namespace or of all.
    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// A number that changes whenever any object of the resource does (the watch cache's revision for it). `None`
    /// is always correct; a number lets indexes skip comparing lists.
    fn generation(&self, group: &str, resource: &str) -> Option<u64> {
        let _ = (group, resource);
        None
    }

    /// The pods whose `spec.nodeName` is `node`. Override it where an index exists.
    fn pods_on_node(&self, node: &str) -> Vec<Arc<Value>> {
        let on_node = |pod: &Arc<Value>| pod["spec"]["nodeName"].as_str() == Some(node);
        self.list("", "pods", None).into_iter().filter(on_node).collect()
    }
}
