//! Conditions, phases, qos, refusals.

use serde_json::json;

use super::{Driver, pod};
use crate::machine::Machine;
use crate::{PodPlan, qos, refuse};

fn condition(status: &serde_json::Value, kind: &str) -> String {
    let all = status["conditions"].as_array().unwrap();
    let found = all.iter().find(|condition| condition["type"] == kind).unwrap();
    let reason = found["reason"].as_str().unwrap_or("-");
    format!("{}/{reason}", found["status"].as_str().unwrap())
}

#[test]
fn conditions_follow_the_pod() {
    let mut d = Driver::new(json!({}));
    assert_eq!(condition(&d.status(), "Ready"), "False/ContainersNotReady");
    assert_eq!(condition(&d.status(), "PodReadyToStartContainers"), "False/-");
    assert_eq!(condition(&d.status(), "Initialized"), "True/-");
    d.boot();
    assert_eq!(condition(&d.status(), "PodReadyToStartContainers"), "True/-");
    d.running(0);
    assert_eq!(condition(&d.status(), "Ready"), "True/-");
    assert_eq!(condition(&d.status(), "ContainersReady"), "True/-");
    assert_eq!(d.status()["podIP"], "10.244.0.2");
    assert_eq!(d.status()["podIPs"], json!([{"ip": "10.244.0.2"}]));
    assert_eq!(d.status()["hostIPs"], json!([{"ip": "10.88.0.11"}]));
    assert_eq!(d.status()["observedGeneration"], 1);
    assert_eq!(d.status()["containerStatuses"][0]["imageID"], "nginx@sha256:2");
    assert_eq!(d.status()["containerStatuses"][0]["containerID"], "bulkhead://u/web.0");
    let mut waiting = Driver::new(json!({"initContainers": [{"name": "i", "image": "x:1"}]}));
    waiting.boot();
    assert_eq!(condition(&waiting.status(), "Initialized"), "False/ContainersNotInitialized");
    let message = waiting.status()["conditions"][1]["message"].clone();
    assert_eq!(message, "containers with incomplete status: [i]");
}

#[test]
fn transition_times_are_kept() {
    let mut d = Driver::new(json!({}));
    d.boot();
    d.running(0);
    let before = d.status();
    d.pod.status = serde_json::from_value(before.clone()).unwrap();
    d.pass(5);
    assert_eq!(d.status(), before);
}

#[test]
fn readiness_gates_hold_back() {
    let mut d = Driver::new(json!({"readinessGates": [{"conditionType": "lb"}]}));
    d.boot();
    d.running(0);
    assert_eq!(condition(&d.status(), "Ready"), "False/ReadinessGatesNotReady");
    d.pod.status =
        serde_json::from_value(json!({"conditions": [{"type": "lb", "status": "True"}]})).unwrap();
    assert_eq!(condition(&d.status(), "Ready"), "True/-");
    assert_eq!(condition(&d.status(), "lb"), "True/-");
}

#[test]
fn qos_classes() {
    let resources = |text: serde_json::Value| json!({"containers": [{"name": "c", "image": "i", "resources": text}]});
    for (spec, expect) in [
        (resources(json!({})), "BestEffort"),
        (resources(json!({"requests": {"cpu": "1"}})), "Burstable"),
        (resources(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed"),
        (
            resources(
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}),
            ),
            "Guaranteed",
        ),
        (
            resources(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "0.5"}})),
            "Burstable",
        ),
    ] {
        assert_eq!(qos::qos_class(&pod(spec.clone())), expect, "{spec}");
    }
}

#[test]
fn what_a_microvm_cannot_do_is_refused() {
    for (spec, reason) in [
        (json!({"hostNetwork": true}), Some("HostNetworkUnsupported")),
        (json!({"hostPID": true}), Some("HostPIDUnsupported")),
        (json!({"hostIPC": true}), Some("HostIPCUnsupported")),
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            Some("HostPathUnsupported"),
        ),
        (
            json!({"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}),
            Some("VolumeUnsupported"),
        ),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {"medium": "HugePages"}}]}),
            Some("VolumeUnsupported"),
        ),
        (json!({"volumes": [{"name": "v", "emptyDir": {}}]}), None),
        (
            json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1, "hostPort": 80}]}]}),
            Some("HostPortUnsupported"),
        ),
        (json!({}), None),
    ] {
        let pod = pod(spec.clone());
        let failure = refuse::refuse(&pod);
        assert_eq!(failure.as_ref().map(|failure| failure.reason.as_str()), reason, "{spec}");
        if let Some(failure) = failure {
            let now = jiff::Timestamp::UNIX_EPOCH;
            let machine = Machine::refused(PodPlan::new(&pod), failure, now);
            let status = crate::status::pod_status(&machine, &pod, "ip", now);
            assert_eq!(status.phase.as_deref(), Some("Failed"));
            assert_eq!(status.reason.as_deref(), reason);
        }
    }
}
