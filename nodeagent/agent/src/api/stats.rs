//! `/stats/summary`: what pods and node use now.

use std::time::Duration;

use jiff::Timestamp;
use proto::guest as g;
use serde_json::{Value, json};

use super::server::Config;
use crate::node::Machine;
use crate::pods::PodHandle;

/// A guest that does not answer in this time is left out.
const GUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The guest's own counters; `None` while there is no guest, or when it does not answer.
pub async fn guest_stats(pod: &PodHandle) -> Option<g::SandboxStats> {
    let vm = pod.vm.borrow().clone()?;
    let mut guest = vm.guest;
    let answer = tokio::time::timeout(GUEST_TIMEOUT, guest.stats(g::StatsRequest {})).await;
    Some(answer.ok()?.ok()?.into_inner())
}

/// All pods' counters, asked for at once.
pub async fn all(config: &Config) -> Vec<(PodHandle, g::SandboxStats)> {
    let pods = config.pods.all();
    let stats = futures::future::join_all(pods.iter().map(guest_stats)).await;
    pods.into_iter().zip(stats).filter_map(|(pod, stats)| Some((pod, stats?))).collect()
}

/// `kubelet.config.k8s.io` summary as metrics clients read it.
pub async fn summary(config: &Config) -> Value {
    let now = Timestamp::now();
    let pods: Vec<Value> =
        all(config).await.iter().map(|(pod, stats)| pod_summary(pod, stats, now)).collect();
    let usage = NodeUsage::read(&config.machine);
    json!({
        "node": {
            "nodeName": config.shared.facts.node_name,
            "startTime": now,
            "cpu": {"time": now, "usageCoreNanoSeconds": usage.cpu_nanos},
            "memory": {
                "time": now,
                "availableBytes": usage.memory_available,
                "usageBytes": config.machine.memory_bytes.saturating_sub(usage.memory_available),
                "workingSetBytes": config.machine.memory_bytes.saturating_sub(usage.memory_available),
            },
        },
        "pods": pods,
    })
}

/// Counters of the whole machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeUsage {
    pub cpu_nanos: u64,
    pub memory_available: u64,
}

impl NodeUsage {
    /// From /proc/stat (in units of 10 ms) and /proc/meminfo.
    #[must_use]
    pub fn read(_machine: &Machine) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> =
            first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // Everything but idle (3) and iowait (4); guest time (8, 9) is in user time already.
        let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| fields.get(*index)).sum();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpu_nanos: busy * 10_000_000,
            memory_available: meminfo
                .lines()
                .find_map(|line| line.strip_prefix("MemAvailable:"))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024,
        }
    }
}

fn pod_summary(pod: &PodHandle, stats: &g::SandboxStats, now: Timestamp) -> Value {
    let containers: Vec<Value> = stats
        .containers
        .iter()
        .map(|container| {
            json!({
                "name": container_name(&container.id),
                "startTime": now,
                "cpu": {"time": now, "usageCoreNanoSeconds": container.cpu_usage_nanos},
                "memory": {
                    "time": now,
                    "workingSetBytes": container.memory_working_set_bytes,
                    "usageBytes": container.memory_usage_bytes,
                    "rssBytes": container.memory_rss_bytes,
                },
            })
        })
        .collect();
    let sum = |of: fn(&g::ContainerStats) -> u64| stats.containers.iter().map(of).sum::<u64>();
    let interfaces: Vec<Value> = stats
        .interfaces
        .iter()
        .map(|link| json!({"name": link.name, "rxBytes": link.rx_bytes, "txBytes": link.tx_bytes}))
        .collect();
    json!({
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": pod.machine.borrow().state.start_time,
        "containers": containers,
        "cpu": {"time": now, "usageCoreNanoSeconds": sum(|c| c.cpu_usage_nanos)},
        "memory": {"time": now, "workingSetBytes": sum(|c| c.memory_working_set_bytes)},
        "network": {"time": now, "interfaces": interfaces},
    })
}

/// "web.0" is the first start of container "web".
#[must_use]
pub fn container_name(id: &str) -> &str {
    id.rsplit_once('.').map_or(id, |(name, _)| name)
}
