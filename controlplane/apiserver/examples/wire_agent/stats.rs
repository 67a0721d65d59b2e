//! `/stats/summary`: the counters of this machine for the nodes; pods that run in name only use nothing.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Shared,
    listen::{Answer, text},
};

const TICK_NANOS: u64 = 10_000_000;

pub async fn answer(shared: &Shared) -> Answer {
    let pods = shared.client.send("GET", "/api/v1/pods", "application/json", &Value::Null).await;
    match pods {
        Ok(pods) => text(StatusCode::OK, summary(&pods).to_string()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}

fn summary(pods: &Value) -> Value {
    let now = jiff::Timestamp::now().to_string();
    let counters = |cpu: u64, memory: u64| {
        json!({"cpu": {"time": now, "usageCoreNanoSeconds": cpu},
            "memory": {"time": now, "workingSetBytes": memory}})
    };
    let container = |container: &Value| {
        let mut one = counters(0, 0);
        one["name"] = container["name"].clone();
        one
    };
    let pod = |pod: &Value| {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        json!({"podRef": {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"], "uid": pod["metadata"]["uid"]},
            "containers": containers.map(container).collect::<Vec<_>>()})
    };
    let running = pods["items"].as_array().into_iter().flatten();
    let running = running.filter(|pod| pod["status"]["phase"] == "Running");
    let (cpu, memory) = machine();
    json!({"node": counters(cpu, memory), "pods": running.map(pod).collect::<Vec<_>>()})
}

/// Nanoseconds that this machine's processors were busy in user programs, and the bytes of memory in use.
fn machine() -> (u64, u64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/stat");
    let user = stat.split_whitespace().nth(1).and_then(|ticks| ticks.parse::<u64>().ok());
    let meminfo = read("/proc/meminfo");
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let used = kib("MemTotal").saturating_sub(kib("MemAvailable"));
    (user.unwrap_or(0) * TICK_NANOS, used * 1024)
}
