//! The parts of the control plane that are clients of the API server: controllers, scheduler, provisioner.

use std::{fs, io::ErrorKind, path::Path, sync::Arc};

use anyhow::{Context, Result};
use apiserver::Handle;
use client::leader::{self, Candidate};
use tokio::task::JoinSet;

use crate::command::{MetalArguments, ServerArguments};

/// Starts the parts; each ends with the server.
pub async fn start(server: &Handle, arguments: &ServerArguments) -> Result<JoinSet<Result<()>>> {
    let mut parts = JoinSet::new();
    if arguments.api_only {
        return Ok(parts);
    }
    let manager = client_of(server, &arguments.data_dir, "controller-manager").await?;
    let scheduler = client_of(server, &arguments.data_dir, "scheduler").await?;
    let shutdown = server.shutdown_token();
    let config = controllers::Config {
        pki: Arc::new(server.pki.clone()),
        cluster_cidr: arguments.cluster_cidr,
    };
    let identity = server_identity(&arguments.data_dir)?;
    let candidate = |lease: &str| Candidate { lease: lease.into(), identity: identity.clone() };
    let (own, token) = (manager.clone(), shutdown.clone());
    let lease = candidate("kube-controller-manager");
    parts.spawn(leader::lead(manager.clone(), lease, token, move |term| {
        let run = controllers::run(own.clone(), config.clone(), term);
        async { run.await.context("the controllers ended") }
    }));
    let (own, token) = (scheduler.clone(), shutdown.clone());
    let lease = candidate("kube-scheduler");
    parts.spawn(leader::lead(scheduler, lease, token, move |term| {
        let run = scheduler::run(own.clone(), term);
        async { run.await.context("the scheduler ended") }
    }));
    if let Some(config) = metal_config(server, &arguments.metal) {
        parts.spawn(async move {
            metal::run(manager, config, shutdown).await.context("the provisioner ended")
        });
    }
    Ok(parts)
}

/// A client with an identity of its own: `system:kube-controller-manager` (also for the provisioner) or
/// `system:kube-scheduler`. What it may do is in the roles of those names, like everybody's.
async fn client_of(server: &Handle, data_dir: &Path, part: &str) -> Result<kube::Client> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let identity = match part {
        "scheduler" => server.pki.scheduler(),
        _ => server.pki.controller_manager(),
    };
    let path = data_dir.join(format!("{part}.kubeconfig"));
    let text = server.pki.kubeconfig(&server.url, &format!("system:kube-{part}"), identity);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("failed to write {}", path.display()))?;
    let client = client::load(Some(&path)).await;
    client.with_context(|| format!("failed to make a client for the {part}"))
}

/// This control plane's name in Leases: the host's name and a number that the data directory keeps, so that a restarted server
/// is known as the one it was.
fn server_identity(data_dir: &Path) -> Result<String> {
    let path = data_dir.join("identity");
    let number = match fs::read_to_string(&path) {
        Ok(number) => number,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let number = uuid::Uuid::new_v4().to_string();
            fs::write(&path, &number)
                .with_context(|| format!("failed to write {}", path.display()))?;
            number
        }
        Err(error) => {
            return Err(error).with_context(|| format!("failed to read {}", path.display()));
        }
    };
    let host = nix::unistd::gethostname().context("failed to read the host's name")?;
    Ok(format!("{}_{}", host.to_string_lossy(), number.trim()))
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
        registry_mirrors: arguments.registry_mirror.clone(),
        kernel_arguments: arguments.metal_kernel_arguments.clone(),
        admit_unknown: arguments.metal_admit_unknown,
    })
}
