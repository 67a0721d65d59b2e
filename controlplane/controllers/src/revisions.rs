//! Templates that a set had, as ControllerRevisions (upstream `pkg/controller/history`). What `kubectl rollout` reads.

use std::sync::Arc;

use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, runtime::RawExtension},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    Error,
    deployment::template_hash,
    driver::Shared,
    error::ignore_not_found,
    ownership::{Owned, claim},
};

/// The label of a pod, and of its revision, that names its template.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// Other names tried when a foreign revision has ours.
const COLLISIONS_MAX: i32 = 20;

/// A set's revisions, oldest first.
pub(crate) struct History {
    /// The present template's.
    pub current: Arc<ControllerRevision>,
    pub all: Vec<Arc<ControllerRevision>>,
}

/// Finds the revision of a template among those of its set, or makes it the newest.
pub(crate) async fn history<O: Owned>(
    shared: &Shared,
    owner: &O,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
) -> Result<History, Error> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<ControllerRevision> = Api::namespaced(shared.client.clone(), &namespace);
    let mut all = claim(shared, owner, selector, shared.informers.revisions.all()).await?;
    all.sort_by_key(|revision| (revision.revision, revision.name_any()));
    let data = data(template);
    let newest = all.last().map_or(0, |last| last.revision);
    let same = all.iter().position(|it| it.data.as_ref().is_some_and(|it| it.0 == data));
    let current = match same {
        Some(index) if all[index].revision == newest => Arc::clone(&all[index]),
        Some(index) => {
            let old = all.remove(index);
            let patch = Patch::Merge(json!({"revision": newest + 1}));
            let patched = api.patch(&old.name_any(), &PatchParams::default(), &patch).await;
            let new = Arc::new(patched.map_err(Error::api("renew a revision"))?);
            all.push(Arc::clone(&new));
            new
        }
        None => {
            let new = create(&api, owner, template, data, newest + 1).await?;
            let new = Arc::new(new);
            all.push(Arc::clone(&new));
            new
        }
    };
    Ok(History { current, all })
}

async fn create<O: Owned>(
    api: &Api<ControllerRevision>,
    owner: &O,
    template: &PodTemplateSpec,
    data: Value,
    number: i64,
) -> Result<ControllerRevision, Error> {
    for collisions in 0..COLLISIONS_MAX {
        let hash = template_hash(template, collisions);
        let mut revision = ControllerRevision {
            data: Some(RawExtension(data.clone())),
            revision: number,
            ..ControllerRevision::default()
        };
        revision.metadata.name = Some(format!("{}-{hash}", owner.name_any()));
        revision.metadata.namespace = owner.namespace();
        let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone());
        let mut labels = labels.unwrap_or_default();
        labels.insert(HASH_LABEL.into(), hash);
        revision.metadata.labels = Some(labels);
        revision.metadata.annotations = Some(owner.annotations().clone());
        revision.metadata.owner_references = owner.controller_owner_ref(&()).map(|mut owner| {
            owner.block_owner_deletion = Some(true);
            vec![owner]
        });
        match api.create(&PostParams::default(), &revision).await {
            Ok(made) => return Ok(made),
            Err(error) if client::is_already_exists(&error) => {
                let there = api.get(&revision.name_any()).await;
                let there = there.map_err(Error::api("read a revision"))?;
                let own =
                    there.owner_references().iter().any(|it| Some(&it.uid) == owner.uid().as_ref());
                // Made a moment ago, and not seen yet.
                if own && there.data.as_ref().is_some_and(|it| it.0 == data) {
                    return Ok(there);
                }
            }
            Err(error) => return Err(Error::api("create a revision")(error)),
        }
    }
    Err(Error::NotSeen)
}

/// What a rollback applies as a strategic merge patch.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The name of a revision's template.
pub(crate) fn hash(revision: &ControllerRevision) -> &str {
    revision.labels().get(HASH_LABEL).map_or("", String::as_str)
}

/// The template of a revision.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut data = revision.data.as_ref()?.0["spec"]["template"].clone();
    data.as_object_mut()?.remove("$patch");
    serde_json::from_value(data).ok()
}

/// Deletes the oldest revisions that no pod has, beyond the limit.
pub(crate) async fn truncate(
    shared: &Shared,
    namespace: &str,
    history: &History,
    is_live: impl Fn(&ControllerRevision) -> bool,
    limit: i32,
) -> Result<(), Error> {
    let current = history.current.name_any();
    let unused = history.all.iter().filter(|it| it.name_any() != current && !is_live(it));
    let unused: Vec<_> = unused.collect();
    let surplus = unused.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    let api: Api<ControllerRevision> = Api::namespaced(shared.client.clone(), namespace);
    for old in unused.into_iter().take(surplus) {
        ignore_not_found(api.delete(&old.name_any(), &DeleteParams::default()).await)
            .map_err(Error::api("delete an old revision"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_comes_back_out_of_its_revision() {
        let of: PodTemplateSpec = serde_json::from_value(
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
        )
        .expect("a template");
        let revision = ControllerRevision {
            data: Some(RawExtension(data(&of))),
            ..ControllerRevision::default()
        };
        assert_eq!(template(&revision), Some(of));
    }
}
