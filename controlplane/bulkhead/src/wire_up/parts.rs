//! The parts of the control plane that are clients of the API server: controllers, scheduler, provisioner.

use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::Handle;
use tokio::task::JoinSet;

use crate::command::{MetalArguments, ServerArguments};

/// Starts the parts; each ends with the server.
pub async fn start(server: &Handle, arguments: &ServerArguments) -> Result<JoinSet<Result<()>>> {
    let mut parts = JoinSet::new();
    if arguments.api_only {
        return Ok(parts);
    }
    let client = client::load(Some(&server.admin_kubeconfig))
        .await
        .context("failed to make a client for the control plane's own parts")?;
    let shutdown = server.shutdown_token();
    let config = controllers::Config {
        pki: Arc::new(server.pki.clone()),
        cluster_cidr: arguments.cluster_cidr,
    };
    let (own, token) = (client.clone(), shutdown.clone());
    parts.spawn(async move {
        controllers::run(own, config, token).await.context("the controllers ended")
    });
    let (own, token) = (client.clone(), shutdown.clone());
    parts.spawn(async move { scheduler::run(own, token).await.context("the scheduler ended") });
    if let Some(config) = metal_config(server, &arguments.metal) {
        parts.spawn(async move {
            metal::run(client, config, shutdown).await.context("the provisioner ended")
        });
    }
    Ok(parts)
}

/// The provisioner's settings; `None` where no interface is named (clap sees to it that the rest is there).
fn metal_config(server: &Handle, arguments: &MetalArguments) -> Option<metal::Config> {
    Some(metal::Config {
        interface: arguments.metal_interface.clone()?,
        address: arguments.metal_address?,
        network: arguments.metal_network?,
        pool: arguments.metal_pool?,
        http_port: arguments.metal_http_port,
        tftp_root: arguments.metal_tftp_root.clone(),
        images: arguments.metal_images.clone()?,
        api_server: server.url.clone(),
        ca_pem: server.pki.ca_pem().to_owned(),
        insecure_registries: arguments.insecure_registry.clone(),
        kernel_arguments: arguments.metal_kernel_arguments.clone(),
        admit_unknown: arguments.metal_admit_unknown,
    })
}
