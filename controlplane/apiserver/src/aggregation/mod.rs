//! API aggregation: groups and versions that another server answers, behind our address (upstream `kube-aggregator`).
//!
//! `plan` reads APIServices and says which local ones must exist, pure; `follow` keeps objects, conditions and routes
//! true; `probe` asks a remote server what it has; `pass` sends requests on with the user's identity in headers.

mod follow;
mod pass;
mod plan;
mod probe;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Value, json};

pub use follow::follow;
pub use pass::pass_on;
pub use plan::Remote;

/// API group of APIService.
pub const GROUP: &str = "apiregistration.k8s.io";
const RESOURCE: &str = "apiservices";

/// What other servers answer, as last read.
#[derive(Default)]
pub struct Aggregation {
    remotes: ArcSwap<Vec<Arc<Remote>>>,
    /// What remote servers said they have.
    known: ArcSwap<Vec<Arc<Discovered>>>,
}

/// A remote server's resources of one group and version.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    pub group: String,
    pub version: String,
    /// `APIResourceList`
    pub resources: Value,
}

impl Aggregation {
    /// The server of a path, when it is not this one: everything below `/apis/<group>/<version>` of an APIService, and
    /// its OpenAPI document.
    #[must_use]
    pub fn remote(&self, path: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return None;
        }
        let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let mut parts = path.trim_start_matches('/').split('/');
        if parts.next() != Some("apis") {
            return None;
        }
        let (group, version) = (parts.next()?, parts.next()?);
        remotes.iter().find(|remote| remote.group == group && remote.version == version).cloned()
    }

    /// Groups of remote servers for `/apis`, and their priority; versions that are not available are in it, as
    /// upstream.
    #[must_use]
    pub fn groups(&self) -> Vec<Value> {
        let remotes = self.remotes.load();
        let mut names: Vec<&str> = remotes.iter().map(|remote| remote.group.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| describe(&remotes, name)).collect()
    }

    /// `/apis/<group>`.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<Value> {
        let mut group = describe(&self.remotes.load(), name)?;
        group["kind"] = json!("APIGroup");
        group["apiVersion"] = json!("v1");
        Some(group)
    }

    /// Remote groups in the form of aggregated discovery.
    #[must_use]
    pub fn discovery(&self) -> Vec<Value> {
        let known = self.known.load();
        let remotes = self.remotes.load();
        let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
        for remote in remotes.iter() {
            let found =
                known.iter().find(|one| one.group == remote.group && one.version == remote.version);
            let resources = found.map(|one| probe::aggregated(one)).unwrap_or_default();
            let freshness = if remote.available { "Current" } else { "Stale" };
            let version =
                json!({"version": remote.version, "resources": resources, "freshness": freshness});
            match groups.iter_mut().find(|(name, _)| *name == remote.group) {
                Some((_, versions)) => versions.push(version),
                None => groups.push((remote.group.clone(), vec![version])),
            }
        }
        let item = |(name, versions): (String, Vec<Value>)| {
            json!({
            "metadata": {"name": name, "creationTimestamp": null}, "versions": versions})
        };
        groups.into_iter().map(item).collect()
    }

    /// Group and version of every remote, for the index of OpenAPI v3.
    #[must_use]
    pub fn versions(&self) -> Vec<(String, String)> {
        let remotes = self.remotes.load();
        let available = remotes.iter().filter(|remote| remote.available);
        available.map(|remote| (remote.group.clone(), remote.version.clone())).collect()
    }
}

fn describe(remotes: &[Arc<Remote>], group: &str) -> Option<Value> {
    let mut own: Vec<&Arc<Remote>> =
        remotes.iter().filter(|remote| remote.group == group).collect();
    own.sort_by_key(|remote| {
        std::cmp::Reverse((remote.version_priority, crate::registry::priority(&remote.version)))
    });
    let versions: Vec<Value> = own
        .iter()
        .map(|remote| json!({"groupVersion": format!("{group}/{}", remote.version), "version": remote.version}))
        .collect();
    let first = versions.first()?.clone();
    Some(json!({"name": group, "versions": versions, "preferredVersion": first}))
}
