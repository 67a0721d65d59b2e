//! The table of kinds: one row for each built-in resource. CRDs make rows of the same type at run time.

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
    Vec::new()
}
