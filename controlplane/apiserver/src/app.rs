//! What every request handler shares.

use std::{net::SocketAddr, sync::Arc};

use access::{Lookup, authn::Authenticator, authz::Authorizer, pki::Pki};
use arc_swap::ArcSwap;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::Cache, config::Config, metrics::Metrics, openapi::Documents, registry::Registry,
};

/// The running server's parts. One per server, behind an `Arc`.
pub struct App {
    pub config: Config,
    pub store: Arc<dyn Store>,
    pub cache: Arc<Cache>,
    pub registry: ArcSwap<Registry>,
    pub pki: Pki,
    pub authenticator: Authenticator,
    pub authorizer: Authorizer,
    pub metrics: Metrics,
    pub documents: Documents,
    /// TLS towards node agents.
    pub node_tls: Arc<rustls::ClientConfig>,
    /// Connections to webhooks and aggregated servers.
    pub idle: crate::reach::Idle,
    pub flow: Arc<crate::flow::Flow>,
    pub audit: crate::audit::Auditor,
    pub aggregation: crate::aggregation::Aggregation,
    /// One permit for each open watch.
    pub watchers: Arc<tokio::sync::Semaphore>,
    /// What nodes and pods use, for `metrics.k8s.io`.
    pub collector: crate::metrics_api::Collector,
    /// Set when the server is told to stop: `/readyz` fails, requests are still served.
    pub stopping: CancellationToken,
    /// Held from choosing a cluster IP or port until the cache shows it as taken.
    pub service_allocation: tokio::sync::Mutex<()>,
    /// What admission keeps between requests.
    pub admission: crate::admission::State,
    /// Held while a disruption budget's allowance is spent.
    pub evictions: tokio::sync::Mutex<()>,
    pub shutdown: CancellationToken,
    /// Bound addresses, in the order of `config.listen`.
    pub addresses: Vec<SocketAddr>,
    /// The first objects exist; `/readyz` says so.
    pub ready: std::sync::atomic::AtomicBool,
}

impl App {
    /// The cache as the identity code reads it.
    #[must_use]
    pub fn lookup(&self) -> Arc<dyn Lookup> {
        self.cache.clone()
    }

    /// `https://<advertised address>:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.addresses.first().map_or(6443, SocketAddr::port);
        format!("https://{}", SocketAddr::new(self.config.advertise_address, port))
    }
}

impl App {
    /// Before a read that must see every acknowledged write: with several API servers on one etcd the cache may be
    /// behind writes of the others. The embedded store has this one writer, which waits for the cache itself.
    pub async fn sync_reads(&self) -> Result<(), api::Status> {
        if self.config.store == crate::config::StoreKind::Embedded {
            return Ok(());
        }
        let newest = self.store.revision().await.map_err(|error| crate::errors::store(&error))?;
        if self.cache.wait(newest.0).await {
            return Ok(());
        }
        Err(crate::errors::too_large(newest.0, self.cache.revision()))
    }
}
