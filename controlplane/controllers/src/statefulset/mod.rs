//! StatefulSets: pods with names and claims of their own, one after the other.

mod identity;
mod plan;
mod retention;

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::PersistentVolumeClaim,
};
use kube::{Api, ResourceExt, api::PostParams};

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    ownership::{claim, owner_wakes},
    podset,
    revisions::{self, History},
    status,
};

/// Fields of the status that are left out when they are 0.
const OPTIONAL_COUNTS: [&str; 3] = ["readyReplicas", "currentReplicas", "updatedReplicas"];

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let selector = |set: &StatefulSet| set.spec.as_ref().map(|spec| spec.selector.clone());
    let woken = owner_wakes(&informers.stateful_sets, &informers.pods, selector);
    let owned = shared.clone();
    drive("statefulset", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let found = informers.stateful_sets.get(Some(&key.namespace), &key.name);
    let Some(set) = found.filter(|set| set.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let Some(spec) = &set.spec else { return Ok(None) };
    let history = revisions::history(&shared, &*set, &spec.selector, &spec.template).await?;
    // Only pods with a name of ours are ours.
    let mut pods = informers.pods.all();
    pods.retain(|pod| identity::ordinal(&set, pod).is_some());
    let pods = claim(&shared, &*set, &spec.selector, pods).await?;
    let current = current(&set, &history);
    let (current_name, update_name) = (current.name_any(), history.current.name_any());
    let names = plan::Revisions { current: &current_name, update: &update_name };
    let plan = plan::plan(&set, names, &pods, Timestamp::now());
    // Before pods go: their claims may have to go with them.
    retention::apply(&shared, &set, &pods).await?;
    let outcome = apply(&shared, &set, &current, &history.current, &plan).await;
    if set.status.as_ref() != Some(&plan.status) {
        status::write(&shared, &*set, &plan.status, &OPTIONAL_COUNTS).await?;
    }
    outcome?;
    let live: BTreeSet<&str> = pods.iter().map(|pod| identity::revision(pod)).collect();
    let is_live = |it: &ControllerRevision| {
        it.name_any() == current_name || live.contains(it.name_any().as_str())
    };
    let limit = spec.revision_history_limit.unwrap_or(10);
    revisions::truncate(&shared, &key.namespace, &history, is_live, limit).await?;
    Ok(plan.again)
}

/// The revision that was last rolled out.
fn current(set: &StatefulSet, history: &History) -> Arc<ControllerRevision> {
    let name = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    let found = history.all.iter().find(|it| Some(it.name_any().as_str()) == name);
    Arc::clone(found.unwrap_or(&history.current))
}

async fn apply(
    shared: &Shared,
    set: &StatefulSet,
    current: &ControllerRevision,
    update: &ControllerRevision,
    plan: &plan::Plan,
) -> Result<(), Error> {
    podset::delete(shared, set, &plan.delete).await.map_err(|failure| failure.error)?;
    let mut pods = Vec::new();
    for (ordinal, new) in &plan.create {
        create_claims(shared, set, *ordinal).await?;
        let revision = if *new { update } else { current };
        let template = revisions::template(revision)
            .or_else(|| set.spec.as_ref().map(|spec| spec.template.clone()))
            .unwrap_or_default();
        pods.push(identity::pod_of(set, &template, &revision.name_any(), *ordinal));
    }
    let (created, failure) = podset::create(shared, set, pods).await;
    podset::seen(shared, &set.namespace().unwrap_or_default(), &created, &plan.delete).await?;
    failure.map_or(Ok(()), |failure| Err(failure.error))
}

async fn create_claims(shared: &Shared, set: &StatefulSet, ordinal: i32) -> Result<(), Error> {
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(shared.client.clone(), &set.namespace().unwrap_or_default());
    for mut claim in identity::claims(set, ordinal) {
        // Of the set; the pod, when it is too many one day, takes them over.
        let owner = retention::owner(set, None, ordinal);
        claim.metadata.owner_references = owner.map(|owner| vec![owner]);
        match api.create(&PostParams::default(), &claim).await {
            Ok(_) => {
                let note = format!("create Claim {} success", claim.name_any());
                shared.normal(set, "SuccessfulCreate", &note);
            }
            // Of the pod that had this name before: the new one goes on with its data.
            Err(error) if client::is_already_exists(&error) => {}
            Err(error) => return Err(Error::api("create a claim")(error)),
        }
    }
    Ok(())
}
