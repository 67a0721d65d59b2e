//! Gives every node its own /24 of the pods' addresses (`spec.podCIDR`).

use std::{collections::BTreeSet, sync::Arc};

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::{own_key, wakes},
};

/// Prefix length of one node's range (upstream's default for IPv4).
const NODE_PREFIX: u8 = 24;

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared, cluster: Ipv4Net) {
    let woken = vec![wakes(&shared.informers.nodes, |node| vec![own_key(node)])];
    let owned = shared.clone();
    // Ranges given in this process; the lock makes two nodes' choices one after the other.
    let given: Arc<Mutex<BTreeSet<Ipv4Net>>> = Arc::default();
    drive("nodeipam", &shared, woken, move |key| {
        reconcile(owned.clone(), Arc::clone(&given), cluster, key)
    })
    .await;
}

async fn reconcile(
    shared: Shared,
    given: Arc<Mutex<BTreeSet<Ipv4Net>>>,
    cluster: Ipv4Net,
    key: Key,
) -> Result<Again, Error> {
    let Some(node) = shared.informers.nodes.get(None, &key.name) else { return Ok(None) };
    if range_of(&node).is_some() {
        return Ok(None);
    }
    let mut given = given.lock().await;
    let mut taken: BTreeSet<Ipv4Net> =
        shared.informers.nodes.all().iter().filter_map(|n| range_of(n)).collect();
    taken.extend(given.iter());
    let free = lowest_free(cluster, &taken).ok_or(Error::NoPodRange)?;
    let patch = json!({"spec": {"podCIDR": free.to_string(), "podCIDRs": [free.to_string()]}});
    let nodes: Api<Node> = Api::all(shared.client.clone());
    let patched = nodes.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
    ignore_not_found(patched).map_err(Error::api("give a node its pod range"))?;
    given.insert(free);
    Ok(None)
}

fn range_of(node: &Node) -> Option<Ipv4Net> {
    node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()
}

fn lowest_free(cluster: Ipv4Net, taken: &BTreeSet<Ipv4Net>) -> Option<Ipv4Net> {
    cluster.subnets(NODE_PREFIX).ok()?.find(|range| !taken.contains(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_once_each() {
        let cluster: Ipv4Net = "10.244.0.0/23".parse().expect("a range");
        let mut taken = BTreeSet::new();
        for expected in [Some("10.244.0.0/24"), Some("10.244.1.0/24"), None] {
            let free = lowest_free(cluster, &taken);
            assert_eq!(free.map(|range| range.to_string()).as_deref(), expected);
            taken.extend(free);
        }
    }
}
