//! The table of kinds against the kinds that k8s-openapi generated from the published API of the same release.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use api::{Kind, Scope};

/// One `impl Resource` of k8s-openapi.
#[derive(Debug, PartialEq, Eq)]
struct Published {
    group: String,
    version: String,
    kind: String,
    /// The last segment of its path: the plural, or a subresource.
    segment: String,
    scope: String,
}

/// Beta versions that are served although upstream turns them off by default.
const BETA: &[&str] = &["storagemigration.k8s.io/v1beta1"];

fn sources() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let users = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let registry = home.or_else(users)?.join("registry/src");
    let indexes = fs::read_dir(registry).ok()?.filter_map(Result::ok);
    indexes
        .map(|index| index.path().join("k8s-openapi-0.29.0/src/v1_36"))
        .find(|path| path.is_dir())
}

fn collect(folder: &Path, found: &mut Vec<Published>) {
    for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(parse(&fs::read_to_string(&path).unwrap()));
        }
    }
}

fn parse(text: &str) -> Option<Published> {
    let (_, body) = text.split_once("impl crate::Resource for ")?;
    let constant = |name: &str| {
        let (_, rest) = body.split_once(&format!("const {name}: &'static str = \""))?;
        Some(rest.split('"').next()?.to_owned())
    };
    let (_, scope) = body.split_once("type Scope = crate::")?;
    Some(Published {
        group: constant("GROUP")?,
        version: constant("VERSION")?,
        kind: constant("KIND")?,
        segment: constant("URL_PATH_SEGMENT")?,
        scope: scope.split(';').next()?.to_owned(),
    })
}

impl Published {
    fn is_served(&self) -> bool {
        let stable = self.version.trim_start_matches('v').bytes().all(|byte| byte.is_ascii_digit());
        let served = stable || BETA.contains(&format!("{}/{}", self.group, self.version).as_str());
        // Discovery documents and Status are no resources.
        let meta = ["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status"];
        served && !meta.contains(&self.kind.as_str())
    }

    fn is_in(&self, kinds: &[Kind]) -> bool {
        let scope = match self.scope.as_str() {
            "ClusterResourceScope" => Scope::Cluster,
            "NamespaceResourceScope" => Scope::Namespaced,
            _ => return self.is_subresource_in(kinds),
        };
        kinds.iter().any(|kind| {
            (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str())
                == (self.group.as_str(), self.version.as_str(), self.kind.as_str())
                && kind.plural == self.segment
                && kind.scope == scope
        })
    }

    fn is_subresource_in(&self, kinds: &[Kind]) -> bool {
        kinds.iter().flat_map(|kind| &kind.subresources).any(|sub| {
            sub.name == self.segment && sub.kind == self.kind && sub.version == self.version
        })
    }
}

#[test]
fn every_published_kind_is_served() {
    let Some(sources) = sources() else {
        println!("skipped: the sources of k8s-openapi 0.29.0 in cargo's registry");
        return;
    };
    let mut published = Vec::new();
    collect(&sources, &mut published);
    published.retain(Published::is_served);
    assert!(published.len() > 60, "only {} kinds found", published.len());
    let kinds = api::kinds();
    let missing: Vec<_> = published.iter().filter(|one| !one.is_in(&kinds)).collect();
    assert!(missing.is_empty(), "not served: {missing:#?}");
}

#[test]
fn one_source_is_read() {
    let text = "impl crate::Resource for A {\n    const API_VERSION: &'static str = \"g/v1\";\n    const GROUP: &'static str = \"g\";\n    \
        const KIND: &'static str = \"A\";\n    const VERSION: &'static str = \"v1\";\n    const URL_PATH_SEGMENT: &'static str = \"as\";\n    \
        type Scope = crate::ClusterResourceScope;\n}";
    let found = parse(text).unwrap();
    assert_eq!((found.segment.as_str(), found.scope.as_str()), ("as", "ClusterResourceScope"));
}
