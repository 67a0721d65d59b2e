//! The table of kinds: one row for each built-in resource. CRDs make rows of the same type at run time.

mod access;
mod builder;
mod core;
mod extension;
mod network;
mod resources;
mod workloads;

use std::sync::LazyLock;

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// A subresource that a kind serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `binding`, `eviction`, `log`, `exec`, `token`, ...
    pub name: String,
    /// Kind, group and version of its body where they differ from the parent's
    /// (`Eviction`, `policy`, `v1`); empty: the parent's.
    pub group: String,
    pub version: String,
    pub kind: String,
    /// `get`, `update`, `patch`, `create`.
    pub verbs: Vec<String>,
}

/// One served resource.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    /// The version that is stored; another one only where two are served.
    pub storage_version: String,
    pub kind: String,
    pub list_kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub scope: Scope,
    pub verbs: Vec<String>,
    pub subresources: Vec<Subresource>,
    /// Field selectors beyond `metadata.name` and `metadata.namespace` (`spec.nodeName`, `status.phase`, ...).
    pub selectable_fields: Vec<String>,
    /// Root message in the schema table (`io.k8s.api.core.v1.Pod`); empty where there is none (custom resources).
    pub schema: String,
    pub columns: Vec<crate::columns::Column>,
    /// What clients are warned of because the version is deprecated.
    pub deprecation: Option<String>,
    /// What a CustomResourceDefinition says of this version; `None` for built-in kinds.
    pub custom: Option<std::sync::Arc<crate::structural::Custom>>,
}

impl Kind {
    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Group and version under which objects are stored: `events.k8s.io` events are core events.
    #[must_use]
    pub fn storage_group_version(&self) -> (&str, &str) {
        if self.group == "events.k8s.io" {
            return ("", "v1");
        }
        (&self.group, &self.storage_version)
    }

    /// The row of a subresource.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|one| one.name == name)
    }

    /// `pods` or `deployments.apps`, as error messages name it.
    #[must_use]
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

/// Every built-in kind, in discovery order.
#[must_use]
pub fn kinds() -> Vec<Kind> {
    static ALL: LazyLock<Vec<Kind>> = LazyLock::new(|| {
        let mut all = Vec::new();
        all.extend(core::kinds());
        all.extend(extension::apiregistration());
        all.extend(workloads::apps());
        all.extend(network::events());
        all.extend(access::kinds());
        all.extend(workloads::autoscaling_and_batch());
        all.extend(access::certificates());
        all.extend(network::networking());
        all.extend(workloads::policy());
        all.extend(access::rbac());
        all.extend(resources::storage());
        all.extend(extension::admissionregistration());
        all.extend(extension::apiextensions());
        all.extend(resources::scheduling_node_and_devices());
        all.extend(network::coordination_and_discovery());
        all.extend(extension::flowcontrol());
        all.extend(extension::storagemigration());
        all
    });
    ALL.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_and_unique_path() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in kinds() {
            assert!(seen.insert((kind.api_version(), kind.plural.clone())), "{kind:?}");
            assert!(crate::schema::message(&kind.schema).is_some(), "{}", kind.schema);
            assert_eq!(
                crate::schema::message_of(&kind.api_version(), &kind.kind).map(|m| m.name.as_str()),
                Some(kind.schema.as_str())
            );
            assert!(!kind.columns.is_empty(), "{}", kind.kind);
        }
        assert_eq!(seen.len(), 69);
    }

    #[test]
    fn evictions_belong_to_policy() {
        let pods = kinds().into_iter().find(|kind| kind.plural == "pods").unwrap();
        let eviction = pods.subresource("eviction").unwrap();
        assert_eq!(
            (eviction.group.as_str(), eviction.version.as_str(), eviction.kind.as_str()),
            ("policy", "v1", "Eviction")
        );
    }
}
