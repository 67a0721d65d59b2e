//! `bulkhead server`: the API server, then the parts that are its clients, until a signal.

use std::sync::Arc;

use anyhow::Context;
use apiserver::{Config, Handle, Server, StoreKind};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::{controllers, logging, metal, scheduler};
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

fn config(arguments: &ServerArguments) -> Config {
    let store = match arguments.store {
        StoreName::Embedded => StoreKind::Embedded,
        StoreName::Etcd => StoreKind::Etcd { endpoints: arguments.etcd_endpoints.clone() },
    };
    let (data_dir, listen) = (arguments.data_dir.clone(), arguments.listen.clone());
    Config {
        sans: arguments.san.clone(),
        store,
        ..Config::new(data_dir, listen, arguments.advertise_address)
    }
}

async fn serve(arguments: &ServerArguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch SIGINT")?;
    let server = Arc::new(Server::start(config(arguments)).await?);
    println!("kubeconfig: {}", server.admin_kubeconfig.display());
    let mut parts = JoinSet::new();
    if !arguments.api_only {
        start_parts(&mut parts, arguments, &server).await?;
    }
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

/// Everything that is a client of the API server.
async fn start_parts(
    parts: &mut JoinSet<anyhow::Result<()>>,
    arguments: &ServerArguments,
    server: &Arc<Handle>,
) -> anyhow::Result<()> {
    let client = client::load(Some(&server.admin_kubeconfig))
        .await
        .context("failed to connect to the own API server")?;
    let shutdown = server.shutdown_token();
    parts.spawn(scheduler::run(client.clone(), shutdown.clone()));
    if let Some(config) = metal::config(&arguments.metal, server)? {
        parts.spawn(metal::run(client.clone(), config, shutdown.clone()));
    }
    let (server, cluster_cidr) = (server.clone(), arguments.cluster_cidr);
    parts.spawn(async move { controllers::run(client, &server, cluster_cidr, shutdown).await });
    Ok(())
}
