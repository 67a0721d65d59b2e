//! Starts the API server and hands out a handle to it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use access::{authn::Authenticator, authz::Authorizer, pki, pki::Pki};
use anyhow::Context;
use arc_swap::ArcSwap;
use futures::{FutureExt as _, future::BoxFuture};
use store::{Store, embedded::Embedded, etcd::Etcd};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    aggregation,
    app::App,
    audit, background,
    cache::{self, Cache},
    config::{Config, StoreKind},
    custom, flow,
    measured::Measured,
    metrics::Metrics,
    openapi::Documents,
    serve,
};

/// Watches that are open at once; more are refused with 429.
const WATCHERS_MAX: usize = 50_000;

/// How long the last audit events may take to their webhook at shutdown.
const AUDIT_FLUSH_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// The API server.
pub struct Server;

/// A running server. Dropping the handle does not stop it.
pub struct Handle {
    pub addresses: Vec<SocketAddr>,
    /// `https://<advertised address>:<port>`.
    pub url: String,
    pub admin_kubeconfig: PathBuf,
    pub pki: Pki,
    app: Arc<App>,
    serving: parking_lot::Mutex<Option<JoinHandle<()>>>,
    auditing: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    /// Ends the server when cancelled; ends when the server does.
    #[must_use]
    pub fn shutdown_token(&self) -> CancellationToken {
        self.app.shutdown.clone()
    }

    /// Makes the store forget everything but the newest state, as the background task does with what is old.
    pub async fn compact(&self) -> Result<(), store::Error> {
        let newest = self.app.store.revision().await?;
        self.app.store.compact(newest).await
    }

    /// Fails `/readyz` for the configured time, then stops accepting, lets open requests finish, and returns when all are gone.
    pub async fn shutdown(&self) {
        self.app.stopping.cancel();
        if !self.app.config.shutdown_delay.is_zero() {
            // interval: load balancers look at /readyz now and then; they get this time to turn away.
            tokio::time::sleep(self.app.config.shutdown_delay).await;
        }
        self.app.shutdown.cancel();
        let serving = self.serving.lock().take();
        if let Some(serving) = serving {
            // A panic of the serving task was logged by the runtime already.
            let _ = serving.await;
        }
        let auditing = self.auditing.lock().take();
        if let Some(auditing) = auditing {
            // What is not sent by then is lost; the log has it.
            let _ = tokio::time::timeout(AUDIT_FLUSH_MAX, auditing).await;
        }
    }
}

impl Server {
    /// Opens the store, loads the cache, listens, and creates the cluster's first objects. Ready when it returns.
    pub fn start(config: Config) -> BoxFuture<'static, anyhow::Result<Handle>> {
        // Boxed: its code is compiled in this crate, not again in every binary that awaits it.
        async move {
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("failed to create {}", config.data_dir.display()))?;
        let listeners = serve::bind(&config.listen)
            .await
            .with_context(|| format!("failed to listen on {:?}", config.listen))?;
        let (audit, webhook) = audit::Auditor::open(&config.audit)?;
        let app = Arc::new(assemble(config, &listeners, audit).await?);
        let tls = Arc::new(pki::server_tls_config(&app.pki).context("failed to set up TLS")?);
        tokio::spawn(cache::follow(app.cache.clone(), app.store.clone(), app.shutdown.clone()));
        let serving = tokio::spawn(serve::serve(app.clone(), listeners, tls));
        let auditing = webhook.map(|webhook| tokio::spawn(webhook.run(app.clone())));
        let begun = begin(&app).await;
        if let Err(error) = begun {
            app.shutdown.cancel();
            return Err(error);
        }
        let admin_kubeconfig = app.config.data_dir.join("admin.kubeconfig");
        tracing::info!(url = %app.url(), revision = app.cache.revision(), "the API server is ready");
        Ok(Handle {
            addresses: app.addresses.clone(),
            url: app.url(),
            admin_kubeconfig,
            pki: app.pki.clone(),
            app: app.clone(),
            serving: parking_lot::Mutex::new(Some(serving)),
            auditing: parking_lot::Mutex::new(auditing),
        })
}.boxed()
    }
}

async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match &config.store {
        StoreKind::Embedded => {
            let path = config.data_dir.join("store.redb");
            let opened = Embedded::open(&path).await;
            Arc::new(opened.with_context(|| format!("failed to open {}", path.display()))?)
        }
        StoreKind::Etcd { endpoints } => {
            Arc::new(Etcd::connect(endpoints).await.context("failed to connect to etcd")?)
        }
    })
}

async fn assemble(
    config: Config,
    listeners: &[TcpListener],
    audit: audit::Auditor,
) -> anyhow::Result<App> {
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let pki = Pki::load_or_create(&config.data_dir.join("pki"), &sans(&config, &addresses))
        .context("failed to set up the cluster's certificates")?;
    let metrics = Metrics::default();
    let opened = open_store(&config).await?;
    let store: Arc<dyn Store> = Arc::new(Measured::new(opened, metrics.clone()));
    let cache = Arc::new(Cache::default());
    cache::load(&cache, &*store).await.context("failed to read the store")?;
    let lookup: Arc<dyn access::Lookup> = cache.clone();
    let node_tls = pki::client_tls_config(pki.ca_pem(), Some(pki.kubelet_client()))
        .context("failed to set up TLS towards nodes")?;
    let flow = Arc::new(metrics.register(flow::Flow::new));
    let authenticator = Authenticator::new(&pki, lookup.clone())
        .context("failed to set up authentication")?
        .with_oidc(&config.oidc);
    let admission = crate::admission::State::new(&config.event_limits);
    Ok(App {
        flow,
        audit,
        aggregation: aggregation::Aggregation::default(),
        watchers: Arc::new(tokio::sync::Semaphore::new(WATCHERS_MAX)),
        collector: crate::metrics_api::Collector::default(),
        stopping: CancellationToken::new(),
        registry: ArcSwap::from_pointee(custom::registry(&cache, None)),
        authenticator,
        authorizer: Authorizer::new(lookup),
        config,
        store,
        cache,
        pki,
        metrics,
        documents: Documents::default(),
        node_tls: Arc::new(node_tls),
        idle: crate::reach::Idle::default(),
        service_allocation: tokio::sync::Mutex::new(()),
        admission,
        evictions: tokio::sync::Mutex::new(()),
        shutdown: CancellationToken::new(),
        addresses,
        ready: std::sync::atomic::AtomicBool::new(false),
    })
}

fn sans(config: &Config, addresses: &[SocketAddr]) -> Vec<String> {
    let mut sans = config.sans.clone();
    sans.push(config.advertise_address.to_string());
    sans.push(config.kubernetes_ip().to_string());
    let bound = addresses.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
    sans.extend(bound.map(|ip| ip.to_string()));
    sans.sort();
    sans.dedup();
    sans
}

/// First objects, background tasks, the administrator's kubeconfig.
async fn begin(app: &Arc<App>) -> anyhow::Result<()> {
    background::create_defaults(app).await.context("failed to create the first objects")?;
    background::publish(app).await.context("failed to publish the kubernetes Service")?;
    tokio::spawn(custom::follow(app.clone()));
    tokio::spawn(flow::follow(app.clone()));
    tokio::spawn(aggregation::follow(app.clone()));
    tokio::spawn(background::fetch_oidc_keys(app.clone()));
    tokio::spawn(background::aggregate_roles(app.clone()));
    tokio::spawn(background::expire_events(app.clone()));
    tokio::spawn(background::compact_history(app.clone()));
    write_kubeconfig(app)?;
    app.ready.store(true, Ordering::Release);
    Ok(())
}

fn write_kubeconfig(app: &App) -> anyhow::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let path = app.config.data_dir.join("admin.kubeconfig");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    file.write_all(app.pki.admin_kubeconfig(&app.url()).as_bytes())
        .with_context(|| format!("failed to write {}", path.display()))
}
