//! Which kinds the server has and by which words users name them.

use anyhow::{Result, bail};
use http::{Request, header};
use kube::Client;
use serde_json::Value;

use crate::{
    json::{items_at, text_at},
    session::{Session, with_query},
};

/// One resource in one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub verbs: Vec<String>,
    pub namespaced: bool,
}

impl Kind {
    /// A built-in kind that needs no discovery.
    #[must_use]
    pub fn built_in(
        group: &str,
        version: &str,
        kind: &str,
        plural: &str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            namespaced,
            ..Self::default()
        }
    }

    /// `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pod`, `deployment.apps`.
    #[must_use]
    pub fn qualified(&self) -> String {
        let singular =
            if self.singular.is_empty() { self.kind.to_lowercase() } else { self.singular.clone() };
        if self.group.is_empty() { singular } else { format!("{singular}.{}", self.group) }
    }

    /// `pods`, `deployments.apps`.
    #[must_use]
    pub fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The path of all objects, in one namespace if the kind has them and one is given.
    #[must_use]
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let version = self.api_version();
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/{version}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{version}/{}", self.plural),
        }
    }

    /// The path of one object.
    #[must_use]
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(Some(namespace)), escape(name))
    }

    /// The path that watches one object.
    #[must_use]
    pub fn watch_one(&self, namespace: &str, name: &str) -> String {
        let selector = format!("metadata.name={name}");
        with_query(
            &self.collection(Some(namespace)),
            &[("watch", "true"), ("fieldSelector", &selector)],
        )
    }

    fn is_named(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        self.plural == word
            || self.singular == word
            || self.kind.to_lowercase() == word
            || self.short_names.contains(&word)
    }
}

/// A name inside a path.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F").replace('?', "%3F").replace('#', "%23")
}

/// All kinds of a server, preferred versions first within each group.
#[derive(Debug, Clone, Default)]
pub struct Kinds(pub Vec<Kind>);

impl Kinds {
    /// Asks the server.
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    pub async fn discover(session: &Session) -> Result<Self> {
        let mut kinds = Vec::new();
        for root in ["/api", "/apis"] {
            let answer = fetch(&session.client, root).await?;
            if text_at(&answer, "/kind") == "APIGroupDiscoveryList" {
                kinds.extend(from_aggregated(&answer));
            } else {
                kinds.extend(from_legacy(session, root, &answer).await?);
            }
        }
        Ok(Self(kinds))
    }

    /// The kind that a user's word means: `po`, `pods`, `deployments.apps`, `deployments.v1.apps`.
    ///
    /// # Errors
    /// With kubectl's words when the server has none.
    pub fn find(&self, word: &str) -> Result<&Kind> {
        let (name, rest) = word.split_once('.').unwrap_or((word, ""));
        let found = self.0.iter().find(|kind| {
            let group_fits = rest.is_empty()
                || kind.group == rest
                || (kind.group.starts_with(&format!("{rest}.")))
                || rest
                    .split_once('.')
                    .is_some_and(|(version, group)| kind.version == version && kind.group == group)
                || (kind.group.is_empty() && kind.version == rest);
            kind.is_named(name) && group_fits
        });
        match found {
            Some(kind) => Ok(kind),
            None => bail!("the server doesn't have a resource type \"{word}\""),
        }
    }

    /// The kind of a manifest.
    #[must_use]
    pub fn of_manifest(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        self.0.iter().find(|known| known.kind == kind && known.api_version() == api_version)
    }

    /// The kinds of a category such as `all`, one version each.
    #[must_use]
    pub fn in_category(&self, category: &str) -> Vec<&Kind> {
        let mut found: Vec<&Kind> = Vec::new();
        for kind in self.0.iter().filter(|kind| kind.categories.iter().any(|c| c == category)) {
            if !found.iter().any(|known| known.group == kind.group && known.plural == kind.plural) {
                found.push(kind);
            }
        }
        found
    }
}

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

async fn fetch(client: &Client, path: &str) -> Result<Value, kube::Error> {
    let request = Request::get(path)
        .header(header::ACCEPT, AGGREGATED)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    items_at(value, pointer).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn from_aggregated(list: &Value) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for group in items_at(list, "/items") {
        for version in items_at(group, "/versions") {
            kinds.extend(items_at(version, "/resources").map(|resource| Kind {
                group: text_at(group, "/metadata/name").to_owned(),
                version: text_at(version, "/version").to_owned(),
                kind: text_at(resource, "/responseKind/kind").to_owned(),
                plural: text_at(resource, "/resource").to_owned(),
                singular: text_at(resource, "/singularResource").to_owned(),
                short_names: texts(resource, "/shortNames"),
                categories: texts(resource, "/categories"),
                verbs: texts(resource, "/verbs"),
                namespaced: text_at(resource, "/scope") == "Namespaced",
            }));
        }
    }
    kinds
}

/// One request per group and version, for servers without the aggregated form.
async fn from_legacy(session: &Session, root: &str, answer: &Value) -> Result<Vec<Kind>> {
    let mut versions: Vec<(String, String)> =
        texts(answer, "/versions").into_iter().map(|version| (String::new(), version)).collect();
    for group in items_at(answer, "/groups") {
        let name = text_at(group, "/name");
        let listed = items_at(group, "/versions").map(|version| text_at(version, "/version"));
        versions.extend(listed.map(|version| (name.to_owned(), version.to_owned())));
    }
    let mut kinds = Vec::new();
    for (group, version) in versions {
        let path = if group.is_empty() {
            format!("{root}/{version}")
        } else {
            format!("{root}/{group}/{version}")
        };
        // A group whose server is down must not hide the others.
        let Ok(list) = session.get(&path).await else { continue };
        kinds.extend(from_resource_list(&group, &version, &list));
    }
    Ok(kinds)
}

fn from_resource_list(group: &str, version: &str, list: &Value) -> Vec<Kind> {
    items_at(list, "/resources")
        .filter(|resource| !text_at(resource, "/name").contains('/'))
        .map(|resource| Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text_at(resource, "/kind").to_owned(),
            plural: text_at(resource, "/name").to_owned(),
            singular: text_at(resource, "/singularName").to_owned(),
            short_names: texts(resource, "/shortNames"),
            categories: texts(resource, "/categories"),
            verbs: texts(resource, "/verbs"),
            namespaced: crate::json::is_true_at(resource, "/namespaced"),
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn some_kinds() -> Kinds {
        let mut pods = Kind::built_in("", "v1", "Pod", "pods", true);
        pods.short_names = vec!["po".to_owned()];
        pods.categories = vec!["all".to_owned()];
        let mut deployments = Kind::built_in("apps", "v1", "Deployment", "deployments", true);
        deployments.short_names = vec!["deploy".to_owned()];
        deployments.categories = vec!["all".to_owned()];
        Kinds(vec![
            pods,
            Kind::built_in("", "v1", "Node", "nodes", false),
            Kind::built_in("", "v1", "Event", "events", true),
            deployments,
            Kind::built_in("events.k8s.io", "v1", "Event", "events", true),
        ])
    }

    #[test]
    fn words_find_their_kind() {
        let kinds = some_kinds();
        for (word, resource) in [
            ("po", "pods"),
            ("Pod", "pods"),
            ("pods", "pods"),
            ("deploy", "deployments.apps"),
            ("deployments.apps", "deployments.apps"),
            ("deployments.v1.apps", "deployments.apps"),
            ("events", "events"),
            ("events.events.k8s.io", "events.events.k8s.io"),
            ("pods.v1", "pods"),
        ] {
            assert_eq!(kinds.find(word).unwrap().resource(), resource, "{word}");
        }
        let error = kinds.find("foo").unwrap_err().to_string();
        assert_eq!(error, "the server doesn't have a resource type \"foo\"");
        assert_eq!(kinds.in_category("all").len(), 2);
    }

    #[test]
    fn paths_are_the_apis() {
        let kinds = some_kinds();
        let pod = kinds.find("po").unwrap();
        assert_eq!(pod.object("x", "a"), "/api/v1/namespaces/x/pods/a");
        assert_eq!(pod.collection(None), "/api/v1/pods");
        assert_eq!(kinds.find("nodes").unwrap().object("x", "n"), "/api/v1/nodes/n");
        let deployment = kinds.find("deploy").unwrap();
        assert_eq!(deployment.collection(Some("x")), "/apis/apps/v1/namespaces/x/deployments");
        assert_eq!(deployment.qualified(), "deployment.apps");
    }

    #[test]
    fn aggregated_discovery_is_read() {
        let list = serde_json::json!({"kind": "APIGroupDiscoveryList", "items": [{
            "metadata": {"name": "apps"},
            "versions": [{"version": "v1", "resources": [{
                "resource": "deployments", "responseKind": {"kind": "Deployment"}, "scope": "Namespaced",
                "singularResource": "deployment", "verbs": ["get"], "shortNames": ["deploy"], "categories": ["all"],
            }]}],
        }]});
        let kinds = Kinds(from_aggregated(&list));
        let kind = kinds.find("deploy").unwrap();
        assert_eq!((kind.api_version().as_str(), kind.namespaced), ("apps/v1", true));
        assert!(kinds.of_manifest("apps/v1", "Deployment").is_some());
    }
}
