//! PodDisruptionBudgets: how many of their pods may be evicted now.

mod plan;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::Pod,
    policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
};
use kube::{Api, ResourceExt, api::PostParams};

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::{own_key, wakes},
};

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let budgets = informers.budgets.clone();
    let woken = vec![
        wakes(&informers.budgets, |budget| vec![own_key(budget)]),
        wakes(&informers.pods, move |pod| {
            let budgets = budgets.all().into_iter();
            budgets.filter(|one| plan::covers(one, pod)).map(|one| own_key(&*one)).collect()
        }),
    ];
    let owned = shared.clone();
    drive("disruption", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let Some(budget) = informers.budgets.get(Some(&key.namespace), &key.name) else {
        return Ok(None);
    };
    let mut pods = informers.pods.all();
    pods.retain(|pod| plan::covers(&budget, pod));
    let expected = plan::needs_scale(&budget).then(|| expected(&shared, &key.namespace, &pods));
    let (status, again) = plan::plan(&budget, &pods, expected, Timestamp::now());
    if budget.status.as_ref() != Some(&status) {
        write(&shared, &budget, status).await?;
    }
    Ok(again)
}

/// Replaces, never patches: an eviction that spent the budget meanwhile must not be forgotten.
async fn write(
    shared: &Shared,
    budget: &PodDisruptionBudget,
    status: PodDisruptionBudgetStatus,
) -> Result<(), Error> {
    let namespace = budget.namespace().unwrap_or_default();
    let api: Api<PodDisruptionBudget> = Api::namespaced(shared.client.clone(), &namespace);
    let mut changed = budget.clone();
    changed.status = Some(status);
    let replaced = api.replace_status(&changed.name_any(), &PostParams::default(), &changed).await;
    ignore_not_found(replaced).map_err(Error::api("write a disruption budget's status"))?;
    Ok(())
}

/// How many pods the workloads of these pods want. Pods without a workload that has a number count as themselves.
fn expected(shared: &Shared, namespace: &str, pods: &[std::sync::Arc<Pod>]) -> i32 {
    let informers = &shared.informers;
    let (mut seen, mut total) = (BTreeSet::new(), 0);
    for pod in pods {
        let Some(owner) = pod.owner_references().iter().find(|it| it.controller == Some(true))
        else {
            total += 1;
            continue;
        };
        let mut workload = (owner.kind.clone(), owner.name.clone());
        if owner.kind == "ReplicaSet"
            && let Some(set) = informers.replica_sets.get(Some(namespace), &owner.name)
            && let Some(above) = set.owner_references().iter().find(|it| it.kind == "Deployment")
        {
            workload = (above.kind.clone(), above.name.clone());
        }
        if !seen.insert(workload.clone()) {
            continue;
        }
        total += replicas(shared, namespace, &workload.0, &workload.1)
            .unwrap_or_else(|| plan::siblings(pods, &owner.uid));
    }
    total
}

/// The number of pods that a workload wants; `None` for kinds without such a number.
fn replicas(shared: &Shared, namespace: &str, kind: &str, name: &str) -> Option<i32> {
    let informers = &shared.informers;
    let at = Some(namespace);
    match kind {
        "Deployment" => {
            informers.deployments.get(at, name).and_then(|it| it.spec.clone()?.replicas)
        }
        "ReplicaSet" => {
            informers.replica_sets.get(at, name).and_then(|it| it.spec.clone()?.replicas)
        }
        "ReplicationController" => {
            let found = informers.replication_controllers.get(at, name);
            found.and_then(|it| it.spec.clone()?.replicas)
        }
        "StatefulSet" => {
            informers.stateful_sets.get(at, name).and_then(|it| it.spec.clone()?.replicas)
        }
        _ => None,
    }
}
