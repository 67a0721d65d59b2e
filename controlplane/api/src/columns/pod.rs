//! Columns of pods, upstream `printPod`.

use serde_json::{Value, json};

use super::Column;
use super::cells::{NONE, age, at, list, name, number, or, since, text, wide};
use crate::time;

pub(super) fn columns() -> Vec<Column> {
    vec![
        name(),
        text("Ready", |pod, _| {
            let seen = summarize(pod);
            json!(format!("{}/{}", seen.ready, seen.total))
        }),
        text("Status", |pod, _| json!(summarize(pod).reason)),
        text("Restarts", |pod, now| json!(restarts(pod, now))),
        age(),
        wide("IP", |pod, _| {
            let first = list(pod, "status.podIPs").first().map_or("", |ip| at(ip, "ip"));
            json!(or(or(first, at(pod, "status.podIP")), NONE))
        }),
        wide("Node", |pod, _| json!(or(at(pod, "spec.nodeName"), NONE))),
        wide("Nominated Node", |pod, _| json!(or(at(pod, "status.nominatedNodeName"), NONE))),
        wide("Readiness Gates", |pod, _| json!(readiness_gates(pod))),
    ]
}

/// What the columns say about a pod.
#[derive(Debug, Default)]
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: String,
}

fn summarize(pod: &Value) -> Summary {
    let sidecars: Vec<&str> = list(pod, "spec.initContainers")
        .iter()
        .filter(|one| one["restartPolicy"] == "Always")
        .map(|one| at(one, "name"))
        .collect();
    let mut seen = Summary {
        total: list(pod, "spec.containers").len() + sidecars.len(),
        reason: or(at(pod, "status.reason"), at(pod, "status.phase")).to_owned(),
        ..Summary::default()
    };
    if condition(pod, "PodScheduled").is_some_and(|one| one["reason"] == "SchedulingGated") {
        seen.reason = "SchedulingGated".to_owned();
    }
    let initializing = summarize_init(pod, &sidecars, &mut seen);
    if !initializing || condition(pod, "Initialized").is_some_and(|one| one["status"] == "True") {
        summarize_containers(pod, &sidecars, &mut seen);
    }
    if !at(pod, "metadata.deletionTimestamp").is_empty() {
        if at(pod, "status.reason") == "NodeLost" {
            seen.reason = "Unknown".to_owned();
        } else if !matches!(at(pod, "status.phase"), "Succeeded" | "Failed") {
            seen.reason = "Terminating".to_owned();
        }
    }
    seen
}

/// True while an init container has not finished.
fn summarize_init(pod: &Value, sidecars: &[&str], seen: &mut Summary) -> bool {
    let all = list(pod, "spec.initContainers").len();
    for (index, status) in list(pod, "status.initContainerStatuses").iter().enumerate() {
        count_restarts(status, seen);
        let terminated = &status["state"]["terminated"];
        let waiting = at(status, "state.waiting.reason");
        if terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or(0) == 0 {
            continue;
        }
        if sidecars.contains(&at(status, "name")) && status["started"] == true {
            seen.ready += usize::from(status["ready"] == true);
            continue;
        }
        seen.reason = if terminated.is_object() {
            format!("Init:{}", exit_text(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{all}")
        };
        return true;
    }
    false
}

fn summarize_containers(pod: &Value, sidecars: &[&str], seen: &mut Summary) {
    (seen.restarts, seen.last_restart) = (0, String::new());
    for status in list(pod, "status.initContainerStatuses") {
        if sidecars.contains(&at(status, "name")) {
            count_restarts(status, seen);
        }
    }
    let mut running = false;
    for status in list(pod, "status.containerStatuses").iter().rev() {
        count_restarts(status, seen);
        let waiting = at(status, "state.waiting.reason");
        let terminated = &status["state"]["terminated"];
        if !waiting.is_empty() {
            seen.reason = waiting.to_owned();
        } else if terminated.is_object() {
            seen.reason = exit_text(terminated);
        } else if status["ready"] == true && status["state"]["running"].is_object() {
            running = true;
            seen.ready += 1;
        }
    }
    if seen.reason == "Completed" && running {
        let ready = condition(pod, "Ready").is_some_and(|one| one["status"] == "True");
        seen.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn exit_text(terminated: &Value) -> String {
    match (at(terminated, "reason"), number(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn count_restarts(status: &Value, seen: &mut Summary) {
    seen.restarts += number(status, "restartCount");
    let finished = at(status, "lastState.terminated.finishedAt");
    if time::parse(finished) > time::parse(&seen.last_restart) {
        seen.last_restart = finished.to_owned();
    }
}

fn restarts(pod: &Value, now: i64) -> String {
    let seen = summarize(pod);
    if seen.restarts == 0 || seen.last_restart.is_empty() {
        return seen.restarts.to_string();
    }
    format!("{} ({} ago)", seen.restarts, since(&seen.last_restart, now))
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    list(pod, "status.conditions").iter().find(|one| one["type"] == kind)
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|gate| {
        condition(pod, at(gate, "conditionType")).is_some_and(|one| one["status"] == "True")
    });
    format!("{}/{}", open.count(), gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(pod: Value) -> (String, String, String) {
        let seen = summarize(&pod);
        (format!("{}/{}", seen.ready, seen.total), seen.reason, restarts(&pod, 400))
    }

    #[test]
    fn pods_read_like_upstream() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]});
        let ended = |code: i64, reason: &str| json!({"state": {"terminated": {"exitCode": code, "reason": reason}}});
        let run = json!({"ready": true, "state": {"running": {}}});
        for (status, expected) in [
            (json!({"phase": "Pending"}), ("0/2", "Pending", "0")),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]}),
                ("0/2", "Init:0/1", "0"),
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [ended(1, "Error")]}),
                ("0/2", "Init:Error", "0"),
            ),
            (
                json!({"phase": "Running", "initContainerStatuses": [ended(0, "Completed")], "containerStatuses": [run, run]}),
                ("2/2", "Running", "0"),
            ),
            (
                json!({"phase": "Running", "containerStatuses": [run, ended(0, "Completed")]}),
                ("1/2", "NotReady", "0"),
            ),
            (
                json!({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}),
                ("0/2", "Completed", "0"),
            ),
            (json!({"phase": "Failed", "reason": "Evicted"}), ("0/2", "Evicted", "0")),
            (
                json!({"phase": "Running", "containerStatuses": [{"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"finishedAt": "1970-01-01T00:01:40Z"}}}]}),
                ("0/2", "CrashLoopBackOff", "3 (5m ago)"),
            ),
            (
                json!({"phase": "Running", "containerStatuses": [ended(137, "")]}),
                ("0/2", "ExitCode:137", "0"),
            ),
        ] {
            let (ready, reason, restarts) = status_of(json!({"spec": spec, "status": status}));
            assert_eq!((ready.as_str(), reason.as_str(), restarts.as_str()), expected, "{status}");
        }
        let leaving =
            json!({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Running"}});
        assert_eq!(summarize(&leaving).reason, "Terminating");
    }
}
