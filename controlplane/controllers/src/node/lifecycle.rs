//! Follows leases: marks lost nodes, taints them, and evicts pods that do not tolerate it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tracing::info;

use super::plan::{self, Eviction, Health, Sightings};
use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::{own_key, wakes},
    pods::{is_finished, is_ready},
};

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let by_name = |name: String| Key { namespace: String::new(), name };
    let woken = vec![
        wakes(&informers.nodes, |node| vec![own_key(node)]),
        wakes(&informers.leases, move |lease| vec![by_name(lease.name_any())]),
        wakes(&informers.pods, move |pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            node.map(by_name).into_iter().collect()
        }),
    ];
    let owned = shared.clone();
    let sightings = Arc::new(Mutex::new(Sightings::default()));
    drive("nodelifecycle", &shared, woken, move |key| {
        reconcile(owned.clone(), Arc::clone(&sightings), key)
    })
    .await;
}

async fn reconcile(
    shared: Shared,
    sightings: Arc<Mutex<Sightings>>,
    key: Key,
) -> Result<Again, Error> {
    let informers = &shared.informers;
    let Some(node) = informers.nodes.get(None, &key.name) else {
        lock(&sightings).forget(&key.name);
        return remove_orphans(&shared, &key.name).await.map(|()| None);
    };
    let now = Timestamp::now();
    let lease = informers.leases.get(Some("kube-node-lease"), &key.name);
    let report = plan::newest_report(&node, lease.as_deref());
    let seen = lock(&sightings).note(&key.name, report, now);
    let (health, until_lost) = plan::health(&node, seen, now);
    if health == Health::Lost {
        mark_lost(&shared, &node, now).await?;
    }
    if let Some(taints) = plan::taints(&node, health, now) {
        info!(node = key.name, ?health, "taints change");
        let patch = json!({"metadata": {"resourceVersion": node.resource_version()}, "spec": {"taints": taints}});
        patch_node(&shared, &key.name, &patch).await?;
    }
    let next_eviction = evict(&shared, &node, health, now).await?;
    Ok([until_lost, next_eviction].into_iter().flatten().min())
}

fn lock(sightings: &Mutex<Sightings>) -> MutexGuard<'_, Sightings> {
    sightings.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn patch_node(shared: &Shared, name: &str, patch: &serde_json::Value) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(shared.client.clone());
    ignore_not_found(nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await)
        .map_err(Error::api("taint a node"))?;
    Ok(())
}

async fn mark_lost(shared: &Shared, node: &Node, now: Timestamp) -> Result<(), Error> {
    let Some(conditions) = plan::lost_conditions(node, now) else { return Ok(()) };
    let name = node.name_any();
    info!(node = name, "stopped reporting");
    let nodes: Api<Node> = Api::all(shared.client.clone());
    let patch = json!({"status": {"conditions": conditions}});
    let patched =
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    ignore_not_found(patched).map_err(Error::api("mark a node as lost"))?;
    shared.normal(node, "NodeNotReady", &format!("Node {name} status is now: NodeNotReady"));
    Ok(())
}

/// Deletes pods whose time is over; returns when the next one's is. Pods of a lost node are marked not ready at once,
/// so that services stop sending there.
async fn evict(
    shared: &Shared,
    node: &Node,
    health: Health,
    now: Timestamp,
) -> Result<Again, Error> {
    let name = node.name_any();
    let pods = shared.informers.pods.all().into_iter().filter(|pod| {
        pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(&name)
            && !is_finished(pod)
    });
    let mut next: Again = None;
    for pod in pods {
        if health == Health::Lost && is_ready(&pod) {
            mark_pod_not_ready(shared, &pod, now).await?;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        match plan::eviction(&pod, node, now) {
            Eviction::Never => {}
            Eviction::In(left) => next = Some(next.map_or(left, |sooner| sooner.min(left))),
            Eviction::Now => {
                let note = format!(
                    "Marking for deletion Pod {}/{}",
                    pod.namespace().unwrap_or_default(),
                    pod.name_any()
                );
                shared.normal(&*pod, "TaintManagerEviction", &note);
                mark_disrupted(shared, &pod, now).await?;
                delete(shared, &pod, &DeleteParams::default()).await?;
            }
        }
    }
    Ok(next)
}

async fn mark_pod_not_ready(shared: &Shared, pod: &Pod, now: Timestamp) -> Result<(), Error> {
    set_condition(
        shared,
        pod,
        json!({"type": "Ready", "status": "False", "reason": "NodeLost"}),
        now,
    )
    .await
}

/// Tells the pod's workload that it did not fail by itself.
async fn mark_disrupted(shared: &Shared, pod: &Pod, now: Timestamp) -> Result<(), Error> {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint"});
    set_condition(shared, pod, condition, now).await
}

async fn set_condition(
    shared: &Shared,
    pod: &Pod,
    mut condition: serde_json::Value,
    now: Timestamp,
) -> Result<(), Error> {
    condition["lastTransitionTime"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
    let pods: Api<Pod> =
        Api::namespaced(shared.client.clone(), &pod.namespace().unwrap_or_default());
    let patched =
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await;
    ignore_not_found(patched).map_err(Error::api("write a pod's condition"))?;
    Ok(())
}

/// Pods of a node that is no more are deleted at once (upstream's pod garbage collector).
async fn remove_orphans(shared: &Shared, name: &str) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(shared.client.clone());
    let orphans: Vec<_> = shared
        .informers
        .pods
        .all()
        .into_iter()
        .filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(name))
        .collect();
    if orphans.is_empty() || nodes.get_opt(name).await.map_err(Error::api("read a node"))?.is_some()
    {
        return Ok(());
    }
    for pod in orphans {
        delete(shared, &pod, &DeleteParams::default().grace_period(0)).await?;
    }
    Ok(())
}

async fn delete(shared: &Shared, pod: &Pod, parameters: &DeleteParams) -> Result<(), Error> {
    let pods: Api<Pod> =
        Api::namespaced(shared.client.clone(), &pod.namespace().unwrap_or_default());
    ignore_not_found(pods.delete(&pod.name_any(), parameters).await)
        .map_err(Error::api("delete a pod"))?;
    Ok(())
}
