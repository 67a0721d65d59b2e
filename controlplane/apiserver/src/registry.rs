//! The kinds that are served now: the built-in table and the rows that CRDs add at run time.

use std::{collections::HashMap, sync::Arc};

use api::Kind;
use serde_json::Value;

use crate::custom::LazyRules;

/// All served versions of one group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Empty for the core group.
    pub name: String,
    /// Preferred first.
    pub versions: Vec<Version>,
}

/// One served version of a group.
#[derive(Debug, Clone)]
pub struct Version {
    pub name: String,
    pub kinds: Vec<Arc<Kind>>,
}

/// An immutable snapshot of what is served; replaced as a whole when CRDs change.
#[derive(Debug, Default)]
pub struct Registry {
    pub groups: Vec<Group>,
    by_path: HashMap<(String, String, String), Arc<Kind>>,
    /// Compiled rules of custom resources.
    rules: HashMap<(String, String, String), Arc<LazyRules>>,
}

fn path_of(kind: &Kind) -> (String, String, String) {
    (kind.group.clone(), kind.version.clone(), kind.plural.clone())
}

impl Registry {
    /// Groups keep the order of their first row, versions are sorted by Kubernetes version priority.
    #[must_use]
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let mut registry = Self::default();
        for kind in kinds {
            registry.add(Arc::new(kind));
        }
        for group in &mut registry.groups {
            group.versions.sort_by_key(|version| std::cmp::Reverse(priority(&version.name)));
        }
        registry
    }

    fn add(&mut self, kind: Arc<Kind>) {
        // What is built in cannot be replaced by a definition.
        if self.by_path.contains_key(&path_of(&kind)) {
            return;
        }
        self.by_path.insert(path_of(&kind), kind.clone());
        let group = match self.groups.iter().position(|group| group.name == kind.group) {
            Some(at) => &mut self.groups[at],
            None => {
                self.groups.push(Group { name: kind.group.clone(), versions: Vec::new() });
                self.groups.last_mut().expect("just pushed")
            }
        };
        match group.versions.iter_mut().find(|version| version.name == kind.version) {
            Some(version) => version.kinds.push(kind),
            None => {
                group.versions.push(Version { name: kind.version.clone(), kinds: vec![kind] });
            }
        }
    }

    /// The OpenAPI schema that a definition gives its kind.
    #[must_use]
    pub fn custom_schema<'k>(&self, kind: &'k Kind) -> Option<&'k Value> {
        kind.custom.as_ref().map(|custom| &custom.raw).filter(|schema| schema.is_object())
    }

    /// The CEL rules of a custom resource, compiled when first asked for.
    #[must_use]
    pub fn custom_rules(&self, kind: &Kind) -> Option<Arc<LazyRules>> {
        self.rules.get(&path_of(kind)).cloned()
    }

    pub fn set_custom_rules(&mut self, kind: &Kind, rules: Arc<LazyRules>) {
        self.rules.insert(path_of(kind), rules);
    }

    /// The row of `/apis/<group>/<version>/<resource>`.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Kind>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), resource.to_owned()))
    }

    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    #[must_use]
    pub fn version(&self, group: &str, version: &str) -> Option<&Version> {
        self.group(group)?.versions.iter().find(|v| v.name == version)
    }
}

/// Kubernetes version priority: GA above beta above alpha, then numbers; other names last.
#[must_use]
pub fn priority(version: &str) -> (u8, u32, u32) {
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse() else { return (0, 0, 0) };
    let (rank, minor) = match &rest[digits..] {
        "" => (3, ""),
        tail if tail.starts_with("beta") => (2, &tail[4..]),
        tail if tail.starts_with("alpha") => (1, &tail[5..]),
        _ => return (0, 0, 0),
    };
    (rank, major, minor.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_like_upstream() {
        let mut names = ["v1alpha1", "v2", "foo", "v1", "v1beta2", "v10", "v1beta1"];
        names.sort_by_key(|name| std::cmp::Reverse(priority(name)));
        assert_eq!(names, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }
}
