//! Puts the agent together: identity, node, network, pods, API, proxy and DNS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;
use network::Network;
use podloop::spec::NodeFacts;
use podloop::spec::sizing::Policy;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use volume::Objects;

use crate::api;
use crate::config::{Config, link_mtu, link_of};
use crate::identity::{self, Identity};
use crate::logs::Logs;
use crate::node::{self, Machine, Readiness};
use crate::pods::{Pods, Supervisor};
use crate::recorder::Recorder;
use crate::services::Services;
use crate::shared::Shared;

/// Layers fetched and converted at once.
const PARALLEL_LAYERS: usize = 2;
/// Pause before a failed part is started again.
const PART_RETRY: Duration = Duration::from_secs(5);
/// Parts get this long after a shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Runs the agent until `shutdown`, or until a part of it fails. Pods keep running either way.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.args.state_dir)
        .with_context(|| format!("make {}", config.args.state_dir.display()))?;
    let Identity { ca_pem, client, renew_at } = tokio::select! {
        joined = identity::join(&config) => joined.context("join the cluster")?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let machine = Machine::read(&config.args.state_dir);
    let not_ready = Readiness {
        ready: false,
        message: "container runtime network not ready: waiting for podCIDR".into(),
    };
    let (readiness, readiness_updates) = watch::channel(not_ready.clone());
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    start_registration(&mut tasks, &config, &client, &machine, not_ready, &shutdown);
    let status = node::keep_status(
        client.clone(),
        config.clone(),
        machine.clone(),
        readiness_updates,
        shutdown.clone(),
    );
    tasks.spawn(async move {
        status.await;
        Ok(())
    });
    let network = tokio::select! {
        network = set_up_network(&client, &config) => network?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let shared = share(&config, &client, &machine, &network, &shutdown)?;
    let pods = Pods::default();
    let supervisor = Supervisor::new(Arc::clone(&shared), pods.clone());
    tasks.spawn(async move {
        supervisor.run().await;
        Ok(())
    });
    start_network_tasks(&mut tasks, &config, &client, &network, &shutdown).await;
    start_api(&mut tasks, &config, &client, ca_pem, &shared, pods, machine);
    start_renewal(&mut tasks, config.clone(), client.clone(), renew_at, shutdown.clone());
    let ready = Readiness { ready: true, message: "kubelet is posting ready status".into() };
    readiness.send_replace(ready);
    tracing::info!(node = config.node_name, "agent is up");
    supervise(tasks, shutdown).await
}

/// Registers, then renews the lease. Pods of an earlier agent do not wait for it.
fn start_registration(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: &Config,
    client: &Client,
    machine: &Machine,
    readiness: Readiness,
    shutdown: &CancellationToken,
) {
    let (config, client, machine) = (config.clone(), client.clone(), machine.clone());
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        let node = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            node = node::register(&client, &config, &machine, &readiness) => node,
        };
        node::renew_lease(client, node, shutdown).await;
        Ok(())
    });
}

async fn supervise(
    mut tasks: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut result = Ok(());
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        Some(ended) = tasks.join_next() => {
            result = ended.context("a part of the agent panicked").and_then(|ended| ended);
        }
    }
    shutdown.cancel();
    let rest = async { while tasks.join_next().await.is_some() {} };
    let _late = tokio::time::timeout(SHUTDOWN_GRACE, rest).await;
    result
}

async fn set_up_network(client: &Client, config: &Config) -> anyhow::Result<Network> {
    let pod_cidr = pod_cidr(client, config).await?;
    let uplink = config.args.uplink.clone().or_else(|| link_of(config.node_ip));
    let uplink = uplink.with_context(|| format!("no link has address {}", config.node_ip))?;
    let network = network::Config {
        node_name: config.node_name.clone(),
        node_ip: config.node_ip,
        mtu: link_mtu(&uplink),
        uplink,
        pod_cidr,
        cluster_cidr: config.args.cluster_cidr,
        state_dir: config.state_path("network"),
    };
    Network::setup(network).await.context("set up the pod network")
}

/// The stored one first, so that a restarted agent re-adopts its pods without the API server.
async fn pod_cidr(client: &Client, config: &Config) -> anyhow::Result<ipnet::Ipv4Net> {
    let path = config.state_path("pod-cidr");
    let stored = std::fs::read_to_string(&path).ok();
    if let Some(cidr) = stored.and_then(|text| text.trim().parse().ok()) {
        return Ok(cidr);
    }
    let cidr = node::wait_for_pod_cidr(client, &config.node_name).await?;
    std::fs::write(&path, cidr.to_string()).with_context(|| format!("write {}", path.display()))?;
    Ok(cidr)
}

fn share(
    config: &Config,
    client: &Client,
    machine: &Machine,
    network: &Network,
    shutdown: &CancellationToken,
) -> anyhow::Result<Arc<Shared>> {
    let args = &config.args;
    let vms = vmhost::Host::open(vm_config(config)).context("prepare for VMs")?;
    let images = image::Store::open(
        &config.state_path("images"),
        image::Config {
            insecure_registries: args.insecure_registries.clone(),
            mirrors: args.registry_mirrors.clone(),
            parallel_layers: PARALLEL_LAYERS,
        },
    );
    let facts = NodeFacts {
        node_name: config.node_name.clone(),
        node_ip: config.node_ip.to_string(),
        pod_ip: String::new(),
        cpu_milli: i64::from(machine.cpus) * 1000,
        memory_bytes: i64::try_from(machine.allocatable_memory_bytes()).unwrap_or(i64::MAX),
        cluster_domain: args.cluster_domain.clone(),
        cluster_dns: args.cluster_dns.to_string(),
        resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    Ok(Arc::new(Shared {
        facts,
        policy: Policy {
            unlimited_container_bytes: args.unlimited_container_mib << 20,
            unlimited_vcpus: args.unlimited_vcpus,
            node_cpus: machine.cpus,
        },
        images: Arc::new(images.context("open the image store")?),
        links: Arc::new(network.clone()),
        vms: Arc::new(vms),
        objects: Objects::new(client.clone()),
        tokens: Arc::new(client.clone()),
        services: Services::start(client.clone()),
        recorder: Recorder::start(client.clone(), config.node_name.clone()),
        logs: Logs::new(args.log_dir.clone()),
        pods_dir: config.state_path("pods"),
        client: client.clone(),
        shutdown: shutdown.clone(),
    }))
}

fn vm_config(config: &Config) -> vmhost::Config {
    let args = &config.args;
    vmhost::Config {
        program: args.vmm.clone(),
        kernel: args.guest_kernel.clone(),
        initramfs: args.guest_initramfs.clone(),
        scratch_template: args.scratch_template.clone(),
        run_dir: args.run_dir.join("pods"),
        scratch_dir: config.state_path("scratch"),
        cgroup_root: args.cgroup_root.clone(),
        first_uid: args.vm_first_uid,
        seccomp: args.vm_seccomp,
        console: args.vm_console,
        cmdline: args.guest_cmdline.clone(),
    }
}

async fn start_network_tasks(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: &Config,
    client: &Client,
    network: &Network,
    shutdown: &CancellationToken,
) {
    let peers = node::follow_peers(client.clone(), network.clone(), shutdown.clone());
    tasks.spawn(async move {
        peers.await;
        Ok(())
    });
    if config.args.no_services {
        return;
    }
    let proxy_config = proxy::Config {
        node_name: config.node_name.clone(),
        node_ip: config.node_ip,
        cluster_cidr: config.args.cluster_cidr,
    };
    let (stop, kube) = (shutdown.clone(), client.clone());
    let proxy = move || proxy::run(kube.clone(), proxy_config.clone(), stop.clone());
    tasks.spawn(keep_running("service proxy", proxy, shutdown.clone()));
    if let Err(error) = network.add_service_address(config.args.cluster_dns).await {
        tracing::warn!(error = crate::ports::error_chain(&error), "no address for cluster DNS");
        return;
    }
    let dns_config = dns::Config {
        listen: vec![SocketAddr::from((config.args.cluster_dns, 53))],
        cluster_domain: config.args.cluster_domain.clone(),
        upstream: upstream_servers(Path::new("/etc/resolv.conf")),
    };
    let (stop, kube) = (shutdown.clone(), client.clone());
    let dns = move || dns::run(kube.clone(), dns_config.clone(), stop.clone());
    tasks.spawn(keep_running("DNS", dns, shutdown.clone()));
}

/// Services are a comfort that pods' lives do not depend on: a failure is said and the part started again.
async fn keep_running<F, E>(
    name: &'static str,
    start: impl Fn() -> F,
    shutdown: CancellationToken,
) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    while !shutdown.is_cancelled() {
        match start().await {
            Ok(()) => tracing::info!(part = name, "ended"),
            Err(error) => {
                tracing::error!(part = name, error = crate::ports::error_chain(&error), "failed")
            }
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            // interval: pause before a failed part is started again.
            () = tokio::time::sleep(PART_RETRY) => {}
        }
    }
    Ok(())
}

fn upstream_servers(resolv_conf: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(resolv_conf).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("nameserver"))
        .filter_map(|address| address.trim().parse::<Ipv4Addr>().ok())
        .map(|address| SocketAddr::from((address, 53)))
        .collect()
}

/// The API waits for its serving certificate; pods do not wait for the API.
fn start_api(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: &Config,
    client: &Client,
    ca_pem: String,
    shared: &Arc<Shared>,
    pods: Pods,
    machine: Machine,
) {
    let (config, client, shared) = (config.clone(), client.clone(), Arc::clone(shared));
    tasks.spawn(async move {
        let shutdown = shared.shutdown.clone();
        let pair = tokio::select! {
            pair = identity::serving(&config, &client) => pair.context("get a serving certificate")?,
            () = shutdown.cancelled() => return Ok(()),
        };
        let tls = api::tls::server_config(&pair, &ca_pem)?;
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.args.port));
        api::serve(api::Config { listen, tls, shared, pods, machine }, shutdown).await
    });
}

/// Renews the client certificate, then ends the agent: the next process starts with the new one and
/// re-adopts the pods.
fn start_renewal(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: Config,
    client: Client,
    renew_at: Timestamp,
    shutdown: CancellationToken,
) {
    tasks.spawn(async move {
        let left =
            Duration::try_from(renew_at.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
                        // interval: none; once, the time to renew the certificate.
            () = tokio::time::sleep(left) => {}
        }
        identity::renew_client(&config, &client).await.context("renew the client certificate")?;
        tracing::info!("client certificate renewed: restarting to use it");
        Ok(())
    });
}
