//! `bulkhead server`: the API server, then the parts that are its clients, until a signal.

use anyhow::Context;
use apiserver::{Config, Handle, Server, StoreKind};
use tokio::signal::unix::{SignalKind, signal};

use super::logging;
use crate::command::{ServerArguments, StoreName};

/// Runs until SIGTERM or SIGINT.
pub fn run(arguments: ServerArguments) -> anyhow::Result<()> {
    logging::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(serve(config(arguments)))
}

fn config(arguments: ServerArguments) -> Config {
    let ServerArguments { data_dir, listen, advertise_address, san, store, etcd_endpoints } =
        arguments;
    let store = match store {
        StoreName::Embedded => StoreKind::Embedded,
        StoreName::Etcd => StoreKind::Etcd { endpoints: etcd_endpoints },
    };
    Config { sans: san, store, ..Config::new(data_dir, listen, advertise_address) }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch SIGINT")?;
    let server = Server::start(config).await?;
    println!("kubeconfig: {}", server.admin_kubeconfig.display());
    let ended = server.shutdown_token();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = ended.cancelled() => {}
    }
    stop(server).await;
    Ok(())
}

async fn stop(server: Handle) {
    tracing::info!("shutting down");
    server.shutdown().await;
}
