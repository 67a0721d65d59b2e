//! One informer per kind, shared by all controllers.

use client::{Change, Informer};
use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    certificates::v1::CertificateSigningRequest,
    coordination::v1::Lease,
    core::v1::{
        ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
        ReplicationController, ResourceQuota, Service, ServiceAccount,
    },
    discovery::v1::EndpointSlice,
    networking::v1::{IPAddress, ServiceCIDR},
    policy::v1::PodDisruptionBudget,
    storagemigration::v1beta1::StorageVersionMigration,
};
use kube::{Api, Client, Resource, ResourceExt, runtime::watcher};
use tokio_util::sync::CancellationToken;

use crate::{driver::Key, ownership::Kept};

/// The informers.
#[derive(Debug, Clone)]
pub struct Informers {
    pub pods: Informer<Pod>,
    pub nodes: Informer<Node>,
    pub leases: Informer<Lease>,
    pub deployments: Informer<Deployment>,
    pub replica_sets: Informer<ReplicaSet>,
    pub replication_controllers: Informer<ReplicationController>,
    pub daemon_sets: Informer<DaemonSet>,
    pub stateful_sets: Informer<StatefulSet>,
    pub revisions: Informer<ControllerRevision>,
    pub cron_jobs: Informer<CronJob>,
    pub jobs: Informer<Job>,
    pub budgets: Informer<PodDisruptionBudget>,
    pub services: Informer<Service>,
    pub endpoints: Informer<Endpoints>,
    pub slices: Informer<EndpointSlice>,
    pub service_cidrs: Informer<ServiceCIDR>,
    pub ip_addresses: Informer<IPAddress>,
    pub namespaces: Informer<Namespace>,
    pub service_accounts: Informer<ServiceAccount>,
    /// Only the root CA's copies.
    pub root_cas: Informer<ConfigMap>,
    pub requests: Informer<CertificateSigningRequest>,
    pub quotas: Informer<ResourceQuota>,
    pub claims: Informer<PersistentVolumeClaim>,
    pub volumes: Informer<PersistentVolume>,
    pub migrations: Informer<StorageVersionMigration>,
}

impl Informers {
    /// Starts to list and watch.
    #[must_use]
    pub fn start(client: &Client) -> Self {
        let all = watcher::Config::default;
        let named = |name: &str| all().fields(&format!("metadata.name={name}"));
        let node_leases = Api::namespaced(client.clone(), "kube-node-lease");
        Self {
            pods: Informer::start(Api::all(client.clone()), all()),
            nodes: Informer::start(Api::all(client.clone()), all()),
            leases: Informer::start(node_leases, all()),
            deployments: Informer::start(Api::all(client.clone()), all()),
            replica_sets: Informer::start(Api::all(client.clone()), all()),
            replication_controllers: Informer::start(Api::all(client.clone()), all()),
            daemon_sets: Informer::start(Api::all(client.clone()), all()),
            stateful_sets: Informer::start(Api::all(client.clone()), all()),
            revisions: Informer::start(Api::all(client.clone()), all()),
            cron_jobs: Informer::start(Api::all(client.clone()), all()),
            jobs: Informer::start(Api::all(client.clone()), all()),
            budgets: Informer::start(Api::all(client.clone()), all()),
            services: Informer::start(Api::all(client.clone()), all()),
            endpoints: Informer::start(Api::all(client.clone()), all()),
            slices: Informer::start(Api::all(client.clone()), all()),
            service_cidrs: Informer::start(Api::all(client.clone()), all()),
            ip_addresses: Informer::start(Api::all(client.clone()), all()),
            namespaces: Informer::start(Api::all(client.clone()), all()),
            service_accounts: Informer::start(Api::all(client.clone()), all()),
            root_cas: Informer::start(Api::all(client.clone()), named("kube-root-ca.crt")),
            requests: Informer::start(Api::all(client.clone()), all()),
            quotas: Informer::start(Api::all(client.clone()), all()),
            claims: Informer::start(Api::all(client.clone()), all()),
            volumes: Informer::start(Api::all(client.clone()), all()),
            migrations: Informer::start(Api::all(client.clone()), all()),
        }
    }
}

impl Informers {
    /// Waits until each has listed all its objects; `false` at shutdown.
    pub(crate) async fn ready(&self, shutdown: &CancellationToken) -> bool {
        let all = async {
            tokio::try_join!(
                self.pods.ready(),
                self.nodes.ready(),
                self.leases.ready(),
                self.deployments.ready(),
                self.replica_sets.ready(),
                self.replication_controllers.ready(),
                self.daemon_sets.ready(),
                self.stateful_sets.ready(),
                self.revisions.ready(),
                self.cron_jobs.ready(),
                self.jobs.ready(),
                self.budgets.ready(),
                self.services.ready(),
                self.endpoints.ready(),
                self.slices.ready(),
                self.service_cidrs.ready(),
                self.ip_addresses.ready(),
                self.namespaces.ready(),
                self.service_accounts.ready(),
                self.root_cas.ready(),
                self.requests.ready(),
                self.quotas.ready(),
                self.claims.ready(),
                self.volumes.ready(),
                self.migrations.ready(),
            )
        };
        matches!(shutdown.run_until_cancelled(all).await, Some(Ok(_)))
    }
}

/// Keys to look at, for each change of a kind. `keys` may name the object itself, its owner, or several.
pub(crate) fn wakes<K: Kept>(
    informer: &Informer<K>,
    keys: impl Fn(&K) -> Vec<Key> + Send + 'static,
) -> BoxStream<'static, Key> {
    let changes = informer.changes();
    let informer = informer.clone();
    changes
        .map(move |change| {
            futures::stream::iter(match change {
                Change::Applied(object) | Change::Deleted(object) => keys(&object),
                Change::Resynced => informer.all().iter().flat_map(|object| keys(object)).collect(),
            })
        })
        .flatten()
        .boxed()
}

/// The object's own key.
pub(crate) fn own_key<K: Resource>(object: &K) -> Key {
    Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// The key of the controller that owns an object, if it is of that kind.
pub(crate) fn owner_key<K: Resource>(object: &K, kind: &str) -> Vec<Key> {
    let owners = object.owner_references();
    let controller =
        owners.iter().find(|owner| owner.controller == Some(true) && owner.kind == kind);
    let namespace = object.namespace().unwrap_or_default();
    controller.map(|owner| Key { namespace, name: owner.name.clone() }).into_iter().collect()
}

/// Whether an object is controlled by the one with that UID.
pub(crate) fn is_controlled_by<K: Resource>(object: &K, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}
