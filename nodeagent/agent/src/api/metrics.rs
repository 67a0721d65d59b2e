//! `/metrics` and `/metrics/resource` in the Prometheus text format, under upstream's names.

use std::fmt::Write;

use http::{Response, StatusCode};

use super::server::Config;
use super::stats::{self, NodeUsage, container_name};
use super::{Body, text};

const NANOS: f64 = 1e9;

/// The agent's own metrics.
pub fn agent(config: &Config) -> Response<Body> {
    let pods = config.pods.all();
    let vms = pods.iter().filter(|pod| pod.vm.borrow().is_some()).count();
    let containers: usize = pods
        .iter()
        .map(|pod| {
            let machine = pod.machine.borrow();
            machine.state.containers.iter().filter(|c| c.running_since().is_some()).count()
        })
        .sum();
    let mut out = String::new();
    gauge(&mut out, "kubelet_running_pods", "Number of pods that have a running pod sandbox", vms);
    gauge(
        &mut out,
        "kubelet_running_containers",
        "Number of containers currently running",
        containers,
    );
    out.push_str("# HELP bulkhead_vmm_memory_bytes Memory of a pod's VMM process.\n# TYPE bulkhead_vmm_memory_bytes gauge\n");
    for pod in &pods {
        let Some(memory) = config.shared.vms.memory(&pod.uid) else { continue };
        for (kind, value) in [
            ("rss", memory.rss),
            ("pss", memory.pss),
            ("private", memory.private),
            ("guest", memory.guest),
        ] {
            let _never = writeln!(
                out,
                "bulkhead_vmm_memory_bytes{{namespace=\"{}\",pod=\"{}\",kind=\"{kind}\"}} {value}",
                pod.namespace, pod.name
            );
        }
    }
    text(StatusCode::OK, out)
}

fn gauge(out: &mut String, name: &str, help: &str, value: usize) {
    let _never = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
}

/// What metrics-server reads.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
pub async fn resource(config: &Config) -> Response<Body> {
    let all = stats::all(config).await;
    let usage = NodeUsage::read(&config.machine);
    let used = config.machine.memory_bytes.saturating_sub(usage.memory_available);
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, lines: Vec<(String, f64)>| {
        let _never =
            writeln!(out, "# HELP {name} See upstream's resource metrics.\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _never = writeln!(out, "{name}{labels} {value}");
        }
    };
    family(
        "node_cpu_usage_seconds_total",
        "counter",
        vec![(String::new(), usage.cpu_nanos as f64 / NANOS)],
    );
    family("node_memory_working_set_bytes", "gauge", vec![(String::new(), used as f64)]);
    let mut container_cpu = Vec::new();
    let mut container_memory = Vec::new();
    let mut pod_cpu = Vec::new();
    let mut pod_memory = Vec::new();
    for (pod, stats) in &all {
        let of_pod = format!("namespace=\"{}\",pod=\"{}\"", pod.namespace, pod.name);
        let (mut cpu, mut memory) = (0.0, 0.0);
        for container in &stats.containers {
            let labels = format!("{{container=\"{}\",{of_pod}}}", container_name(&container.id));
            let seconds = container.cpu_usage_nanos as f64 / NANOS;
            let bytes = container.memory_working_set_bytes as f64;
            (cpu, memory) = (cpu + seconds, memory + bytes);
            container_cpu.push((labels.clone(), seconds));
            container_memory.push((labels, bytes));
        }
        pod_cpu.push((format!("{{{of_pod}}}"), cpu));
        pod_memory.push((format!("{{{of_pod}}}"), memory));
    }
    family("container_cpu_usage_seconds_total", "counter", container_cpu);
    family("container_memory_working_set_bytes", "gauge", container_memory);
    family("pod_cpu_usage_seconds_total", "counter", pod_cpu);
    family("pod_memory_working_set_bytes", "gauge", pod_memory);
    text(StatusCode::OK, out)
}
