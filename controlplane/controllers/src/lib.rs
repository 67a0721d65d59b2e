//! The controllers: each turns what is desired into what exists, one pure `plan` and one thin `apply` at a time.
//!
//! All run in one process and share one informer per kind. They talk to the API server only; never to the store.

mod addresses;
mod certificates;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod driver;
mod endpoints;
mod error;
mod garbage;
mod informers;
mod job;
mod metrics;
mod migration;
mod namespace;
mod node;
mod ownership;
mod pods;
mod podset;
mod protection;
mod quota;
mod replicaset;
mod revisions;
mod serviceaccount;
mod statefulset;
mod status;

pub use error::Error;
use futures::{FutureExt as _, future::BoxFuture};
pub use informers::Informers;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::ReplicationController};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What controllers need to know.
#[derive(Clone)]
pub struct Config {
    /// Signs certificates and is published to namespaces.
    pub pki: Arc<access::pki::Pki>,
    /// Nodes get a /24 each out of this.
    pub cluster_cidr: ipnet::Ipv4Net,
}

/// Runs every controller until shutdown.
pub fn run(
    client: kube::Client,
    config: Config,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), Error>> {
    // Boxed: its code is compiled in this crate, not again in every binary that awaits it.
    async move {
        let informers = Informers::start(&client);
        let recorder = client::Recorder::start(client.clone(), "controller-manager", None);
        let shared = driver::Shared { client, informers, recorder, shutdown: shutdown.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(deployment::run(shared.clone()));
        tasks.spawn(replicaset::run::<ReplicaSet>(shared.clone()));
        tasks.spawn(replicaset::run::<ReplicationController>(shared.clone()));
        tasks.spawn(daemonset::run(shared.clone()));
        tasks.spawn(statefulset::run(shared.clone()));
        tasks.spawn(cronjob::run(shared.clone()));
        tasks.spawn(job::run(shared.clone()));
        tasks.spawn(disruption::run(shared.clone()));
        tasks.spawn(endpoints::run(shared.clone()));
        tasks.spawn(endpoints::mirror::run(shared.clone()));
        tasks.spawn(addresses::run(shared.clone()));
        tasks.spawn(node::lifecycle::run(shared.clone()));
        tasks.spawn(node::ipam::run(shared.clone(), config.cluster_cidr));
        tasks.spawn(serviceaccount::run(shared.clone(), config.pki.ca_pem().to_owned()));
        tasks.spawn(namespace::run(shared.clone()));
        tasks.spawn(certificates::run(shared.clone(), Arc::clone(&config.pki)));
        tasks.spawn(quota::run(shared.clone()));
        tasks.spawn(protection::run(shared.clone()));
        tasks.spawn(migration::run(shared.clone()));
        tasks.spawn(garbage::run(shared));
        while let Some(ended) = tasks.join_next().await {
            if let Err(panicked) = ended {
                shutdown.cancel();
                if panicked.is_panic() {
                    std::panic::resume_unwind(panicked.into_panic());
                }
            }
        }
        Ok(())
    }
    .boxed()
}
