//! Services of the cluster, as containers see them in their environment.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::RwLock;
use podloop::spec::ServiceFact;
use tokio::sync::watch;

/// All services with a cluster address.
#[derive(Debug, Clone)]
pub struct Services {
    known: Arc<RwLock<HashMap<(String, String), ServiceFact>>>,
    synced: watch::Receiver<bool>,
}

impl Services {
    /// Starts following the API.
    #[must_use]
    pub fn start(client: Client) -> Self {
        let (publish, synced) = watch::channel(false);
        let known = Arc::default();
        tokio::spawn(follow(client, Arc::clone(&known), publish));
        Self { known, synced }
    }

    /// A fixed set, for tests.
    #[must_use]
    pub fn fixed(services: Vec<ServiceFact>) -> Self {
        let (_publish, synced) = watch::channel(true);
        let known =
            services.into_iter().map(|s| ((s.namespace.clone(), s.name.clone()), s)).collect();
        Self { known: Arc::new(RwLock::new(known)), synced }
    }

    /// Those that a pod of this namespace sees, once the first list has come.
    pub async fn visible(&self, namespace: &str) -> Vec<ServiceFact> {
        // An error means that the follower ended: then the last known list stands.
        let mut synced = self.synced.clone();
        let _ended = synced.wait_for(|synced| *synced).await;
        let known = self.known.read();
        let mut list: Vec<ServiceFact> = known
            .values()
            .filter(|s| {
                s.namespace == namespace || (s.namespace == "default" && s.name == "kubernetes")
            })
            .cloned()
            .collect();
        list.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        list
    }
}

async fn follow(
    client: Client,
    known: Arc<RwLock<HashMap<(String, String), ServiceFact>>>,
    synced: watch::Sender<bool>,
) {
    let api: Api<Service> = Api::all(client);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut fresh = HashMap::new();
    loop {
        match events.try_next().await {
            Ok(Some(watcher::Event::Init)) => fresh.clear(),
            Ok(Some(watcher::Event::InitApply(service))) => insert(&mut fresh, &service),
            Ok(Some(watcher::Event::InitDone)) => {
                *known.write() = std::mem::take(&mut fresh);
                synced.send_replace(true);
            }
            Ok(Some(watcher::Event::Apply(service))) => insert(&mut known.write(), &service),
            Ok(Some(watcher::Event::Delete(service))) => {
                known.write().remove(&key(&service));
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "watch of services failed"),
        }
    }
}

fn key(service: &Service) -> (String, String) {
    let meta = &service.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn insert(known: &mut HashMap<(String, String), ServiceFact>, service: &Service) {
    let (namespace, name) = key(service);
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec.ports.into_iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.port).ok()?;
        let protocol = port.protocol.unwrap_or_else(|| "TCP".into());
        Some((port.name.unwrap_or_default(), number, protocol))
    });
    let fact = ServiceFact {
        namespace: namespace.clone(),
        name: name.clone(),
        cluster_ip: spec.cluster_ip.unwrap_or_default(),
        ports: ports.collect(),
    };
    known.insert((namespace, name), fact);
}
