//! The scheduler, as a client of the API server.

use anyhow::Context;
use kube::Client;
use tokio_util::sync::CancellationToken;

/// Schedules pods until shutdown.
pub async fn run(client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    scheduler::run(client, shutdown).await.context("the scheduler ended")
}
