//! Where an object lives in the store: `/root/<group or core>/<resource>/<namespace or ->/<name>`.

/// Everything this server keeps. The first segment names the logical cluster; there is one today.
pub const ROOT: &str = "/root/";
const CORE: &str = "core";
const NO_NAMESPACE: &str = "-";

/// A stored collection: objects of all served versions share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Collection {
    /// Empty for the core group.
    pub group: String,
    pub resource: String,
}

impl Collection {
    /// The collection that holds a group's resource. Both Event APIs share the core one.
    #[must_use]
    pub fn of(group: &str, resource: &str) -> Self {
        let group = if group == "events.k8s.io" && resource == "events" { "" } else { group };
        Self { group: group.to_owned(), resource: resource.to_owned() }
    }

    /// The store key of one object.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> String {
        let namespace = if namespace.is_empty() { NO_NAMESPACE } else { namespace };
        format!("{}{namespace}/{name}", self.prefix(""))
    }

    /// What the store keys of a namespace's objects start with; "" is all.
    #[must_use]
    pub fn prefix(&self, namespace: &str) -> String {
        let group = if self.group.is_empty() { CORE } else { &self.group };
        let slash = if namespace.is_empty() { "" } else { "/" };
        format!("{ROOT}{group}/{}/{namespace}{slash}", self.resource)
    }
}

/// The parts of a store key; `None` for keys that hold no object.
#[must_use]
pub fn parse(key: &str) -> Option<(Collection, &str, &str)> {
    let mut parts = key.strip_prefix(ROOT)?.splitn(4, '/');
    let (group, resource) = (parts.next()?, parts.next()?);
    let (namespace, name) = (parts.next()?, parts.next()?);
    let group = if group == CORE { "" } else { group };
    let namespace = if namespace == NO_NAMESPACE { "" } else { namespace };
    let collection = Collection { group: group.to_owned(), resource: resource.to_owned() };
    Some((collection, namespace, name))
}

/// The key inside one collection: `<namespace>/<name>`, in the order that lists are served in.
#[must_use]
pub fn local(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        for (group, resource, namespace, name, key) in [
            ("", "pods", "default", "a", "/root/core/pods/default/a"),
            ("apps", "deployments", "x", "b", "/root/apps/deployments/x/b"),
            ("", "nodes", "", "n1", "/root/core/nodes/-/n1"),
            ("events.k8s.io", "events", "d", "e", "/root/core/events/d/e"),
        ] {
            let collection = Collection::of(group, resource);
            assert_eq!(collection.key(namespace, name), key);
            assert_eq!(parse(key), Some((collection, namespace, name)));
        }
    }
}
