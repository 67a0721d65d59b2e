//! Registers the Node and writes its status: on change, and every five minutes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Machine;
use crate::KUBELET_VERSION;
use crate::config::Config;

/// An unchanged status is written this often (`nodeStatusReportFrequency`).
const REPORT_PERIOD: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(2);

/// Whether the node can run pods; the message says why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    pub message: String,
}

/// Creates the Node, or takes over the one of this name. Tries until it succeeds.
pub async fn register(
    client: &Client,
    config: &Config,
    machine: &Machine,
    readiness: &Readiness,
) -> Node {
    let api: Api<Node> = Api::all(client.clone());
    loop {
        match try_register(&api, config, machine, readiness).await {
            Ok(node) => return node,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "node not registered; trying again")
            }
        }
        // interval: retry of a failed registration.
        tokio::time::sleep(RETRY).await;
    }
}

async fn try_register(
    api: &Api<Node>,
    config: &Config,
    machine: &Machine,
    readiness: &Readiness,
) -> anyhow::Result<Node> {
    let node = Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels(config)),
            ..ObjectMeta::default()
        },
        status: Some(status(config, machine, readiness, &[], Timestamp::now())),
        ..Node::default()
    };
    match api.create(&PostParams::default(), &node).await {
        Ok(node) => {
            tracing::info!(node = config.node_name, "registered");
            return Ok(node);
        }
        Err(kube::Error::Api(answer)) if answer.code == 409 => {}
        Err(error) => return Err(error).context("create the node"),
    }
    let patch = json!({"metadata": {"labels": labels(config)}});
    let params = PatchParams::default();
    api.patch(&config.node_name, &params, &Patch::Merge(patch)).await.context("label the node")
}

fn labels(config: &Config) -> BTreeMap<String, String> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let given = config.args.node_labels.iter().filter_map(|label| label.split_once('='));
    labels.extend(given.map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

fn status(
    config: &Config,
    machine: &Machine,
    readiness: &Readiness,
    old: &[NodeCondition],
    now: Timestamp,
) -> NodeStatus {
    let resources = |memory: u64| -> BTreeMap<String, Quantity> {
        [
            ("cpu", machine.cpus.to_string()),
            ("memory", format!("{}Ki", memory / 1024)),
            ("ephemeral-storage", format!("{}Ki", machine.storage_bytes / 1024)),
            ("pods", config.args.max_pods.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), Quantity(value)))
        .into()
    };
    let address = |type_: &str, address: String| NodeAddress { type_: type_.into(), address };
    NodeStatus {
        capacity: Some(resources(machine.memory_bytes)),
        allocatable: Some(resources(machine.allocatable_memory_bytes())),
        addresses: Some(vec![
            address("InternalIP", config.node_ip.to_string()),
            address("Hostname", config.node_name.clone()),
        ]),
        conditions: Some(conditions(readiness, old, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.args.port) }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.into(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!("bulkhead://{}", env!("CARGO_PKG_VERSION")),
            kernel_version: machine.kernel_version.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: KUBELET_VERSION.into(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn conditions(readiness: &Readiness, old: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let ready_reason = if readiness.ready { "KubeletReady" } else { "KubeletNotReady" };
    [
        (
            "MemoryPressure",
            false,
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        ("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", readiness.ready, ready_reason, readiness.message.as_str()),
    ]
    .into_iter()
    .map(|(type_, value, reason, message)| {
        let status = if value { "True" } else { "False" };
        let before = old.iter().find(|c| c.type_ == type_ && c.status == status);
        let since = before.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(now));
        NodeCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since),
        }
    })
    .collect()
}

/// Waits until the control plane has given this node its pod addresses.
pub async fn wait_for_pod_cidr(client: &Client, name: &str) -> anyhow::Result<ipnet::Ipv4Net> {
    let api: Api<Node> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut nodes = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    loop {
        match nodes.try_next().await {
            Ok(Some(node)) => {
                let cidr = node.spec.and_then(|spec| spec.pod_cidr);
                if let Some(cidr) = cidr.filter(|cidr| !cidr.is_empty()) {
                    return cidr.parse().with_context(|| format!("parse podCIDR {cidr}"));
                }
            }
            Ok(None) => anyhow::bail!("the watch of node {name} ended"),
            Err(error) => tracing::warn!(%error, "watch of the own node failed"),
        }
    }
}

/// Writes the status when readiness changes and every five minutes.
pub async fn keep_status(
    client: Client,
    config: Config,
    machine: Machine,
    mut readiness: watch::Receiver<Readiness>,
    shutdown: CancellationToken,
) {
    let api: Api<Node> = Api::all(client);
    loop {
        let wanted = readiness.borrow_and_update().clone();
        let wait = match write_status(&api, &config, &machine, &wanted).await {
            Ok(()) => REPORT_PERIOD,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "node status not written");
                RETRY
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            changed = readiness.changed() => if changed.is_err() { return },
            // interval: the API expects a status report every five minutes; after a failure, a retry.
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn write_status(
    api: &Api<Node>,
    config: &Config,
    machine: &Machine,
    readiness: &Readiness,
) -> anyhow::Result<()> {
    let node = match api.get_opt(&config.node_name).await.context("get the own node")? {
        Some(node) => node,
        // Deleted while we run: the machine is still here, so it registers again.
        None => try_register(api, config, machine, readiness).await?,
    };
    let old = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let status = status(config, machine, readiness, &old, Timestamp::now());
    let patch = Patch::Strategic(json!({"status": status}));
    let name = node.name_any();
    api.patch_status(&name, &PatchParams::default(), &patch).await.context("patch the status")?;
    Ok(())
}
