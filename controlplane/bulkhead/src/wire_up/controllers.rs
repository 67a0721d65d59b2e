//! The controllers, as a client of the API server.

use std::sync::Arc;

use anyhow::Context;
use apiserver::Handle;
use ipnet::Ipv4Net;
use kube::Client;
use tokio_util::sync::CancellationToken;

/// Runs all controllers until shutdown.
pub async fn run(
    client: Client,
    server: &Handle,
    cluster_cidr: Ipv4Net,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let config = controllers::Config { pki: Arc::new(server.pki.clone()), cluster_cidr };
    controllers::run(client, config, shutdown).await.context("the controllers ended")
}
