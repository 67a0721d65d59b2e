//! Where and how a resource is served: its preferred version, from discovery.

use kube::{Client, api::ApiResource};

use crate::{Error, driver::Key, error::ignore_not_found};

/// What a migration asks of a resource.
const VERBS: [&str; 3] = ["update", "patch", "list"];

/// A resource in a version that has it.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub resource: ApiResource,
    verbs: Vec<String>,
}

impl Served {
    /// Why its objects cannot be rewritten, if so.
    pub(super) fn unfit(&self) -> Option<String> {
        if VERBS.iter().all(|verb| self.verbs.iter().any(|one| one == verb)) {
            return None;
        }
        let (name, verbs) = (self.name(), VERBS.join(" "));
        Some(format!("resource \"{name}\" does not support discovery operations: [{verbs}]"))
    }

    /// Why it cannot be told which objects are to be rewritten.
    pub(super) fn without_revisions(&self, version: &str) -> String {
        let name = self.name();
        format!(
            "latest resourceVersion for {name} is not valid: resource version is not well formed: {version}"
        )
    }

    fn name(&self) -> String {
        let ApiResource { group, version, plural, .. } = &self.resource;
        format!("{group}/{version}, Resource={plural}")
    }
}

/// Looks for a resource, in its group's preferred version first.
pub(super) async fn find(client: &Client, key: &Key) -> Result<Option<Served>, Error> {
    let (group, plural) = (&key.namespace, &key.name);
    for version in versions(client, group).await.map_err(Error::api("discover a group"))? {
        let (api_version, listed) = if group.is_empty() {
            (version.clone(), client.list_core_api_resources(&version).await)
        } else {
            let api_version = format!("{group}/{version}");
            let listed = client.list_api_group_resources(&api_version).await;
            (api_version, listed)
        };
        let listed = ignore_not_found(listed).map_err(Error::api("discover a resource"))?;
        let resources = listed.map(|list| list.resources).unwrap_or_default();
        if let Some(found) = resources.into_iter().find(|one| one.name == *plural) {
            let (group, plural) = (group.clone(), plural.clone());
            let resource = ApiResource { group, version, api_version, kind: found.kind, plural };
            return Ok(Some(Served { resource, verbs: found.verbs }));
        }
    }
    Ok(None)
}

/// A group's versions, the preferred one first; none when it is not served.
async fn versions(client: &Client, group: &str) -> Result<Vec<String>, kube::Error> {
    if group.is_empty() {
        return Ok(client.list_core_api_versions().await?.versions);
    }
    let all = client.list_api_groups().await?.groups;
    let Some(found) = all.into_iter().find(|one| one.name == group) else { return Ok(Vec::new()) };
    let preferred = found.preferred_version.map(|one| one.version);
    let others = found.versions.into_iter().map(|one| one.version);
    let others = others.filter(|version| Some(version) != preferred.as_ref()).collect::<Vec<_>>();
    Ok(preferred.into_iter().chain(others).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_that_cannot_be_listed_is_unfit() {
        let served = |verbs: &[&str]| Served {
            resource: ApiResource {
                group: "e.com".into(),
                version: "v1".into(),
                api_version: "e.com/v1".into(),
                kind: "Widget".into(),
                plural: "widgets".into(),
            },
            verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        };
        assert_eq!(served(&["get", "list", "patch", "update"]).unfit(), None);
        let expect = "resource \"e.com/v1, Resource=widgets\" does not support discovery operations: [update patch list]";
        assert_eq!(served(&["create"]).unfit().as_deref(), Some(expect));
    }
}
