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

#[cfg(test)]
pub(crate) mod fake {
    //! Objects in a map, for tests.

    use std::collections::BTreeMap;

    use parking_lot::RwLock;

    use super::{Arc, Lookup, Value};

    type Key = (String, String, String, String);

    #[derive(Default)]
    pub(crate) struct Objects {
        objects: RwLock<BTreeMap<Key, Arc<Value>>>,
    }

    fn key(group: &str, resource: &str, namespace: &str, name: &str) -> Key {
        (group.into(), resource.into(), namespace.into(), name.into())
    }

    impl Objects {
        pub(crate) fn put(&self, group: &str, resource: &str, object: Value) {
            let key = key(group, resource, api::meta::namespace(&object), api::meta::name(&object));
            self.objects.write().insert(key, Arc::new(object));
        }

        pub(crate) fn remove(&self, group: &str, resource: &str, namespace: &str, name: &str) {
            self.objects.write().remove(&key(group, resource, namespace, name));
        }
    }

    impl Lookup for Objects {
        fn get(
            &self,
            group: &str,
            resource: &str,
            namespace: &str,
            name: &str,
        ) -> Option<Arc<Value>> {
            self.objects.read().get(&key(group, resource, namespace, name)).cloned()
        }

        fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
            let objects = self.objects.read();
            let wanted = |key: &&Key| {
                key.0 == group
                    && key.1 == resource
                    && namespace.is_none_or(|namespace| key.2 == namespace)
            };
            objects
                .iter()
                .filter(|(key, _)| wanted(key))
                .map(|(_, object)| Arc::clone(object))
                .collect()
        }
    }
}
