//! Which replica sets to create, scale and delete (upstream `deployment/{rolling,recreate,sync}.go`).

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::{Resource, ResourceExt};

use super::{
    history::{self, DESIRED, HASH_LABEL, MAX, REVISION},
    status,
};
use crate::driver::Again;

/// One change.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Create(Box<ReplicaSet>),
    Scale { name: String, from: i32, to: i32 },
    Annotate { name: String, annotations: BTreeMap<String, String> },
    Delete(String),
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// The deployment's revision annotation, where it must change.
    pub revision: Option<String>,
    /// Absent where nothing changed.
    pub status: Option<DeploymentStatus>,
    pub again: Again,
}

/// How far a rollout may go beyond and below the wanted number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub wanted: i32,
    pub surge: i32,
    pub unavailable: i32,
}

/// Whether a set runs the deployment's present template.
pub(super) fn is_current(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = deployment.spec.as_ref().map(|spec| &spec.template);
    let has = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    history::plain(wanted) == history::plain(has)
}

/// Plans from the deployment and the sets that it controls.
pub(super) fn plan(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    old_pods_run: bool,
    now: Timestamp,
) -> Plan {
    let spec = deployment.spec.clone().unwrap_or_default();
    let bounds = bounds(&spec);
    let mut sets: Vec<&ReplicaSet> = sets.iter().map(|set| &**set).collect();
    sets.sort_by_key(|set| (set.creation_timestamp().map(|time| time.0), set.name_any()));
    let current = sets.iter().copied().find(|set| is_current(deployment, set));
    let old: Vec<&ReplicaSet> = sets
        .iter()
        .copied()
        .filter(|set| current.is_none_or(|c| c.name_any() != set.name_any()))
        .collect();
    let paused = spec.paused.unwrap_or(false);
    let mut steps = Vec::new();
    let newest_old = old.iter().map(|set| history::revision(set)).max().unwrap_or(0);
    let mut revision = current.map_or(newest_old + 1, history::revision);
    if revision <= newest_old {
        revision = newest_old + 1;
    }
    match (current, paused) {
        (Some(current), _) => {
            let annotations = annotations(deployment, bounds, revision);
            if annotations.iter().any(|(key, value)| current.annotations().get(key) != Some(value))
            {
                steps.push(Step::Annotate { name: current.name_any(), annotations });
            }
        }
        (None, true) => {}
        (None, false) => {
            let replicas = first_replicas(&spec, bounds, &old, old_pods_run);
            if let Some(replicas) = replicas {
                steps.push(Step::Create(Box::new(new_set(deployment, bounds, revision, replicas))));
            }
        }
    }
    steps.extend(scale(&spec, bounds, current, &old, old_pods_run));
    steps.extend(clean_up(&spec, &old));
    let revision = revision.to_string();
    let keep =
        current.is_none() && paused || deployment.annotations().get(REVISION) == Some(&revision);
    let (status, again) = status::status(deployment, bounds, current, &sets, now);
    let status = (deployment.status.as_ref() != Some(&status)).then_some(status);
    Plan { steps, revision: (!keep).then_some(revision), status, again }
}

/// Resolves percentages: surge rounds up, unavailable down, never both zero.
pub(super) fn bounds(spec: &DeploymentSpec) -> Bounds {
    let wanted = spec.replicas.unwrap_or(1);
    if is_recreate(spec) {
        return Bounds { wanted, surge: 0, unavailable: wanted };
    }
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.clone());
    let rolling = rolling.unwrap_or_default();
    let quarter = IntOrString::String("25%".into());
    let surge = resolve(rolling.max_surge.as_ref().unwrap_or(&quarter), wanted, true);
    let unavailable = resolve(rolling.max_unavailable.as_ref().unwrap_or(&quarter), wanted, false);
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Bounds { wanted, surge, unavailable: unavailable.min(wanted) }
}

fn resolve(value: &IntOrString, of: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent * i64::from(of);
            let rounded = if round_up { (product + 99) / 100 } else { product / 100 };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// With how many pods a new set starts; `None`: not yet (Recreate waits for the old pods to go).
fn first_replicas(
    spec: &DeploymentSpec,
    bounds: Bounds,
    old: &[&ReplicaSet],
    old_pods_run: bool,
) -> Option<i32> {
    let old_total: i32 = old.iter().map(|set| replicas(set)).sum();
    if is_recreate(spec) {
        return (old_total == 0 && !old_pods_run).then_some(bounds.wanted);
    }
    Some((bounds.wanted + bounds.surge - old_total).clamp(0, bounds.wanted))
}

fn scale(
    spec: &DeploymentSpec,
    bounds: Bounds,
    current: Option<&ReplicaSet>,
    old: &[&ReplicaSet],
    old_pods_run: bool,
) -> Vec<Step> {
    let step = |set: &ReplicaSet, to: i32| {
        let from = replicas(set);
        (from != to).then(|| Step::Scale { name: set.name_any(), from, to })
    };
    if spec.paused.unwrap_or(false) {
        // A paused rollout still follows a change of the wanted number, in the newest set that has pods.
        let active =
            current.into_iter().chain(old.iter().rev().copied()).find(|set| replicas(set) > 0);
        let others: i32 = current.iter().chain(old).map(|set| replicas(set)).sum();
        return match active {
            Some(set) if others == replicas(set) => step(set, bounds.wanted).into_iter().collect(),
            _ => Vec::new(),
        };
    }
    if is_recreate(spec) {
        let mut steps: Vec<Step> = old.iter().filter_map(|set| step(set, 0)).collect();
        if steps.is_empty() && !old_pods_run {
            steps.extend(current.and_then(|set| step(set, bounds.wanted)));
        }
        return steps;
    }
    roll(bounds, current, old, step)
}

/// One step of a rolling update: first the new set up, then the old ones down as far as availability allows.
fn roll(
    bounds: Bounds,
    current: Option<&ReplicaSet>,
    old: &[&ReplicaSet],
    step: impl Fn(&ReplicaSet, i32) -> Option<Step>,
) -> Vec<Step> {
    let Some(current) = current else { return Vec::new() };
    let old_total: i32 = old.iter().map(|set| replicas(set)).sum();
    let total = old_total + replicas(current);
    let to = if replicas(current) > bounds.wanted {
        bounds.wanted
    } else {
        let room = (bounds.wanted + bounds.surge - total).max(0);
        (replicas(current) + room).min(bounds.wanted)
    };
    let mut steps: Vec<Step> = step(current, to).into_iter().collect();
    if !steps.is_empty() || old_total == 0 {
        return steps;
    }
    let minimum = bounds.wanted - bounds.unavailable;
    let new_unavailable = replicas(current) - available(current);
    let mut budget = total - minimum - new_unavailable;
    let mut keep_available: i32 =
        old.iter().map(|set| available(set)).sum::<i32>() + available(current) - minimum;
    for set in old.iter().filter(|set| replicas(set) > 0) {
        // Pods that are not available anyway go first and cost no availability.
        let broken = (replicas(set) - available(set)).max(0).min(budget.max(0));
        budget -= broken;
        let healthy = (replicas(set) - broken).min(keep_available.max(0)).min(budget.max(0));
        keep_available -= healthy;
        budget -= healthy;
        steps.extend(step(set, replicas(set) - broken - healthy));
    }
    steps
}

/// Old sets without pods beyond the history limit.
fn clean_up(spec: &DeploymentSpec, old: &[&ReplicaSet]) -> Vec<Step> {
    let limit = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let mut empty: Vec<&&ReplicaSet> = old
        .iter()
        .filter(|set| {
            let observed = set.status.as_ref().map_or(0, |status| status.replicas);
            replicas(set) == 0 && observed == 0 && set.metadata.deletion_timestamp.is_none()
        })
        .collect();
    empty.sort_by_key(|set| history::revision(set));
    let surplus = empty.len().saturating_sub(limit);
    empty.into_iter().take(surplus).map(|set| Step::Delete(set.name_any())).collect()
}

fn annotations(deployment: &Deployment, bounds: Bounds, revision: i64) -> BTreeMap<String, String> {
    let mut annotations: BTreeMap<String, String> = history::inherited(deployment).collect();
    annotations.insert(REVISION.into(), revision.to_string());
    annotations.insert(DESIRED.into(), bounds.wanted.to_string());
    annotations.insert(MAX.into(), (bounds.wanted + bounds.surge).to_string());
    annotations
}

fn new_set(deployment: &Deployment, bounds: Bounds, revision: i64, replicas: i32) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions =
        deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let hash = history::hash(&spec.template, collisions);
    let mut template = history::plain(Some(&spec.template));
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    let labels = labels.clone();
    let mut selector: LabelSelector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
    let mut set = ReplicaSet::default();
    set.metadata.name = Some(format!("{}-{hash}", deployment.name_any()));
    set.metadata.namespace = deployment.namespace();
    set.metadata.labels = Some(labels);
    set.metadata.annotations = Some(annotations(deployment, bounds, revision));
    let owner = deployment.controller_owner_ref(&()).map(|mut owner| {
        owner.block_owner_deletion = Some(true);
        owner
    });
    set.metadata.owner_references = owner.map(|owner| vec![owner]);
    set.spec = Some(ReplicaSetSpec {
        replicas: Some(replicas),
        min_ready_seconds: spec.min_ready_seconds,
        selector,
        template: Some(template),
    });
    set
}

#[cfg(test)]
mod tests;
