//! `bulkhead server`: the API server, then the parts that are its clients, until a signal.

use anyhow::{Context, ensure};
use apiserver::{AdmissionConfig, Config, EventLimits, Server, StoreKind};
use tokio::signal::unix::{SignalKind, signal};

use super::{logging, parts};
use crate::command::{ServerArguments, StoreName};

/// Runs until SIGTERM or SIGINT, or until a part ends.
pub fn run(arguments: ServerArguments) -> anyhow::Result<()> {
    logging::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(serve(&arguments))
}

fn config(arguments: &ServerArguments) -> anyhow::Result<Config> {
    let store = match arguments.store {
        StoreName::Embedded => StoreKind::Embedded,
        StoreName::Etcd => StoreKind::Etcd { endpoints: arguments.etcd_endpoints.clone() },
    };
    let (data_dir, listen) = (arguments.data_dir.clone(), arguments.listen.clone());
    let mut config = Config {
        sans: arguments.san.clone(),
        admission_plugins: arguments.enable_admission_plugins.clone(),
        store,
        further_metrics: Some(client::metrics::append),
        ..Config::new(data_dir, listen, arguments.advertise_address)
    };
    arguments.serving.apply(&mut config)?;
    if let Some(path) = &arguments.admission_control_config_file {
        let AdmissionConfig { event_limits, pod_security } = AdmissionConfig::load(path)?;
        (config.event_limits, config.pod_security) = (event_limits, pod_security);
    }
    // Upstream does not start without its limits either.
    let limits_events = config.admission_plugins.iter().any(|plugin| plugin == "EventRateLimit");
    ensure!(
        !limits_events || config.event_limits != EventLimits::default(),
        "EventRateLimit needs its limits in --admission-control-config-file"
    );
    Ok(config)
}

async fn serve(arguments: &ServerArguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch SIGINT")?;
    let server = Server::start(config(arguments)?).await?;
    println!("kubeconfig: {}", server.admin_kubeconfig.display());
    let mut parts = parts::start(&server, arguments).await?;
    let shutdown = server.shutdown_token();
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = shutdown.cancelled() => Ok(()),
        Some(ended) = parts.join_next() => ended.context("a part panicked").flatten(),
    };
    tracing::info!("shutting down");
    server.shutdown().await;
    parts.shutdown().await;
    ended
}
