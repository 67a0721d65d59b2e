//! Bare metal: machines as API objects, and the services that boot them (DHCP, TFTP, HTTP) and let them join.
//!
//! Owns `machines.metal.bulkhead.io`. Deciding is pure (`dhcp::answer`, `ipxe`, `state`, `inventory`); the servers are thin.

mod controller;
pub mod dhcp;
mod error;
pub mod http;
pub mod inventory;
pub mod ipxe;
pub mod join;
pub mod machine;
pub mod state;
mod tftp;

use std::{net::Ipv4Addr, path::PathBuf};

pub use error::Error;
use futures::{FutureExt as _, future::BoxFuture};
use ipnet::Ipv4Net;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Where the provisioner listens and what it hands out.
#[derive(Debug, Clone)]
pub struct Config {
    /// The interface that machines boot from; DHCP answers only there.
    pub interface: String,
    /// This host's address on it: boot server, gateway and API server for the machines.
    pub address: Ipv4Addr,
    /// The machines' network.
    pub network: Ipv4Net,
    /// Addresses for machines that have none in their spec: first and last.
    pub pool: (Ipv4Addr, Ipv4Addr),
    /// HTTP port for boot scripts and images.
    pub http_port: u16,
    /// Folder with `undionly.kpxe` and `ipxe.efi`.
    pub tftp_root: PathBuf,
    /// Folder with `kernel` and `initramfs`.
    pub images: PathBuf,
    /// `https://10.88.0.1:6443`
    pub api_server: String,
    /// The cluster's CA certificate (PEM), served to nodes, which check it against the hash in their boot arguments.
    pub ca_pem: String,
    /// Registries that nodes reach without TLS (`10.88.0.1:5000`).
    pub insecure_registries: Vec<String>,
    /// Where nodes look first for images of a registry (`docker.io=10.88.0.1:5000`).
    pub registry_mirrors: Vec<String>,
    /// Further kernel arguments (`console=ttyS0`).
    pub kernel_arguments: String,
    /// Whether a machine that nobody has declared may join by itself.
    pub admit_unknown: bool,
}

/// Runs the provisioner until shutdown.
pub fn run(
    client: kube::Client,
    config: Config,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), Error>> {
    // Boxed: its code is compiled in this crate, not again in every binary that awaits it.
    async move {
        machine::ensure_definition(&client).await?;
        let inventory = inventory::Inventory::default();
        let (reports, received) = tokio::sync::mpsc::channel(controller::REPORTS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(controller::run(
            client.clone(),
            config.clone(),
            inventory.clone(),
            received,
            shutdown.clone(),
        ));
        tasks.spawn(dhcp::run(
            config.clone(),
            inventory.clone(),
            reports.clone(),
            shutdown.clone(),
        ));
        tasks.spawn(tftp::run(config.clone(), shutdown.clone()));
        tasks.spawn(http::run(client, config, inventory, reports, shutdown.clone()));
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    shutdown.cancel();
                    return Err(error);
                }
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        Ok(())
    }
    .boxed()
}
