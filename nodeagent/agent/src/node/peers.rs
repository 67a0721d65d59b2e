//! The other nodes, for the overlay.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use network::{Network, Peer};
use tokio_util::sync::CancellationToken;

/// Keeps the overlay equal to the cluster's nodes.
pub async fn follow_peers(client: Client, network: Network, shutdown: CancellationToken) {
    let api: Api<Node> = Api::all(client);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut peers: BTreeMap<String, Peer> = BTreeMap::new();
    let mut applied: Option<Vec<Peer>> = None;
    let mut listing = false;
    loop {
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            event = events.try_next() => event,
        };
        match event {
            Ok(Some(watcher::Event::Init)) => {
                listing = true;
                peers.clear();
            }
            Ok(Some(watcher::Event::InitDone)) => listing = false,
            Ok(Some(watcher::Event::InitApply(node) | watcher::Event::Apply(node))) => {
                match peer(&node) {
                    Some(peer) => peers.insert(node.name_any(), peer),
                    None => peers.remove(&node.name_any()),
                };
            }
            Ok(Some(watcher::Event::Delete(node))) => {
                peers.remove(&node.name_any());
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "watch of nodes failed"),
        }
        let wanted: Vec<Peer> = peers.values().cloned().collect();
        if listing || applied.as_ref() == Some(&wanted) {
            continue;
        }
        match network.set_peers(wanted.clone()).await {
            Ok(()) => applied = Some(wanted),
            Err(error) => {
                tracing::warn!(error = crate::ports::error_chain(&error), "overlay not changed")
            }
        }
    }
}

fn peer(node: &Node) -> Option<Peer> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let internal = addresses.iter().find(|address| address.type_ == "InternalIP")?;
    let node_ip: Ipv4Addr = internal.address.parse().ok()?;
    let pod_cidr = node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()?;
    Some(Peer { node_name: node.name_any(), node_ip, pod_cidr })
}
