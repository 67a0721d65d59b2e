//! DaemonSets: a pod on every node that is fit for it.

mod nodes;
mod plan;

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{Resource, ResourceExt};

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    informers::{own_key, wakes},
    ownership::{claim, owner_wakes},
    podset,
    revisions::{self, HASH_LABEL},
    status,
};

/// Fields of the status that are left out when they are 0.
const OPTIONAL_COUNTS: [&str; 3] =
    ["numberAvailable", "numberUnavailable", "updatedNumberScheduled"];

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let selector = |set: &DaemonSet| set.spec.as_ref().map(|spec| spec.selector.clone());
    let mut woken = owner_wakes(&informers.daemon_sets, &informers.pods, selector);
    let sets = informers.daemon_sets.clone();
    woken.push(wakes(&informers.nodes, move |_| {
        sets.all().iter().map(|set| own_key(&**set)).collect()
    }));
    let owned = shared.clone();
    drive("daemonset", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let found = informers.daemon_sets.get(Some(&key.namespace), &key.name);
    let Some(set) = found.filter(|set| set.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let Some(spec) = &set.spec else { return Ok(None) };
    let history = revisions::history(&shared, &*set, &spec.selector, &spec.template).await?;
    let hash = revisions::hash(&history.current).to_owned();
    let pods = claim(&shared, &*set, &spec.selector, informers.pods.all()).await?;
    let plan = plan::plan(&set, &hash, &pods, &informers.nodes.all(), Timestamp::now());
    let outcome = apply(&shared, &set, &hash, &plan).await;
    if set.status.as_ref() != Some(&plan.status) {
        status::write(&shared, &*set, &plan.status, &OPTIONAL_COUNTS).await?;
    }
    outcome?;
    let live: BTreeSet<&String> =
        pods.iter().filter_map(|pod| pod.labels().get(HASH_LABEL)).collect();
    let is_live = |revision: &_| live.iter().any(|hash| *hash == revisions::hash(revision));
    let limit = spec.revision_history_limit.unwrap_or(10);
    revisions::truncate(&shared, &key.namespace, &history, is_live, limit).await?;
    Ok(plan.again)
}

async fn apply(
    shared: &Shared,
    set: &Arc<DaemonSet>,
    hash: &str,
    plan: &plan::Plan,
) -> Result<(), Error> {
    for name in &plan.failed {
        let note = format!("Found failed daemon pod {name}, will try to kill it");
        shared.warning(&**set, "FailedDaemonPod", &note);
    }
    podset::delete(shared, &**set, &plan.delete).await.map_err(|failure| failure.error)?;
    let pods = plan.create.iter().map(|node| pod_of(set, hash, node)).collect();
    let (created, failure) = podset::create(shared, &**set, pods).await;
    podset::seen(shared, &set.namespace().unwrap_or_default(), &created, &plan.delete).await?;
    failure.map_or(Ok(()), |failure| Err(failure.error))
}

fn pod_of(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let template = set.spec.clone().unwrap_or_default().template;
    let prefix = format!("{}-", set.name_any());
    let mut pod =
        podset::from_template(&template, set.namespace(), prefix, set.controller_owner_ref(&()));
    pod.metadata.labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.into());
    let spec = pod.spec.get_or_insert_default();
    nodes::with_defaults(spec);
    nodes::pin(spec, node);
    pod
}
