//! The provisioner of machines, as a client of the API server.

use anyhow::Context;
use apiserver::Handle;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::command::MetalArguments;

/// The provisioner's settings; `None` when no interface is given.
pub fn config(
    arguments: &MetalArguments,
    server: &Handle,
) -> anyhow::Result<Option<metal::Config>> {
    let Some(interface) = arguments.metal_interface.clone() else { return Ok(None) };
    let address = arguments.metal_address.context("--metal-address is missing")?;
    Ok(Some(metal::Config {
        interface,
        address,
        network: arguments.metal_network,
        pool: (arguments.metal_pool_first, arguments.metal_pool_last),
        http_port: arguments.metal_http_port,
        tftp_root: arguments.metal_tftp_root.clone(),
        images: arguments.metal_images.clone(),
        api_server: server.url.clone(),
        ca_pem: server.pki.ca_pem().to_owned(),
        insecure_registries: arguments.insecure_registry.clone(),
        kernel_arguments: arguments.metal_kernel_arguments.clone(),
        admit_unknown: arguments.metal_admit_unknown,
    }))
}

/// Boots and joins machines until shutdown.
pub async fn run(
    client: Client,
    config: metal::Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    metal::run(client, config, shutdown).await.context("the provisioner ended")
}
