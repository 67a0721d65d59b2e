//! A pod in words.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    template,
    text::{Text, date, or_none},
};
use crate::json::{is_true_at, items_at, number_at, text_at};

/// Describes a pod.
pub(super) fn describe(text: &mut Text, pod: &Value, now: Timestamp) {
    let spec = &pod["spec"];
    text.field("Name", text_at(pod, "/metadata/name"));
    text.field("Namespace", text_at(pod, "/metadata/namespace"));
    if let Some(priority) = number_at(spec, "/priority") {
        text.field("Priority", priority);
        text.field_if("Priority Class Name", text_at(spec, "/priorityClassName"));
    }
    text.field_if("Runtime Class Name", text_at(spec, "/runtimeClassName"));
    text.field_if("Service Account", text_at(spec, "/serviceAccountName"));
    match text_at(spec, "/nodeName") {
        "" => text.field("Node", "<none>"),
        node => text.field("Node", format!("{node}/{}", text_at(pod, "/status/hostIP"))),
    }
    if !text_at(pod, "/status/startTime").is_empty() {
        text.field("Start Time", date(text_at(pod, "/status/startTime")));
    }
    text.map("Labels", pod, "/metadata/labels", "=");
    text.map("Annotations", pod, "/metadata/annotations", ": ");
    status(text, pod, now);
    addresses(text, pod);
    if let Some(owner) = controller(pod) {
        text.field("Controlled By", owner);
    }
    for (label, list, statuses) in [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ] {
        template::containers(text, label, &spec[list], Some((pod, statuses)));
    }
    conditions(text, pod);
    template::volumes(text, spec);
    text.field_if("QoS Class", text_at(pod, "/status/qosClass"));
    text.map("Node-Selectors", spec, "/nodeSelector", "=");
    template::tolerations(text, spec);
}

fn status(text: &mut Text, pod: &Value, now: Timestamp) {
    let deleted = text_at(pod, "/metadata/deletionTimestamp");
    if deleted.is_empty() {
        text.field("Status", text_at(pod, "/status/phase"));
    } else {
        text.field(
            "Status",
            format!("Terminating (lasts {})", crate::output::age::since(deleted, now)),
        );
        let grace = number_at(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
        text.field("Termination Grace Period", format!("{grace}s"));
    }
    text.field_if("Reason", text_at(pod, "/status/reason"));
    text.field_if("Message", text_at(pod, "/status/message"));
}

fn addresses(text: &mut Text, pod: &Value) {
    text.field("IP", text_at(pod, "/status/podIP"));
    let all: Vec<_> = items_at(pod, "/status/podIPs").map(|ip| text_at(ip, "/ip")).collect();
    if all.is_empty() {
        text.field("IPs", "<none>");
        return;
    }
    text.line("IPs:");
    text.nested(|text| all.iter().for_each(|ip| text.field("IP", ip)));
}

/// `ReplicaSet/x` of the owner that controls an object.
pub(super) fn controller(object: &Value) -> Option<String> {
    let owner = items_at(object, "/metadata/ownerReferences")
        .find(|owner| is_true_at(owner, "/controller"))?;
    Some(format!("{}/{}", text_at(owner, "/kind"), text_at(owner, "/name")))
}

fn conditions(text: &mut Text, pod: &Value) {
    if items_at(pod, "/status/conditions").next().is_none() {
        return;
    }
    text.line("Conditions:");
    text.nested(|text| {
        text.line("Type\tStatus");
        for condition in items_at(pod, "/status/conditions") {
            text.line(&format!(
                "{} \t{} ",
                text_at(condition, "/type"),
                or_none(text_at(condition, "/status"))
            ));
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::describe::text::tests::has_line;

    #[test]
    fn a_pod_is_described() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "x", "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "controller": true}]},
            "spec": {"nodeName": "n", "priority": 0, "containers": [{"name": "c", "image": "i"}]},
            "status": {
                "phase": "Running", "hostIP": "10.88.0.11", "podIP": "10.244.0.2", "podIPs": [{"ip": "10.244.0.2"}],
                "qosClass": "BestEffort", "startTime": "2026-01-02T03:04:05Z",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "name": "c", "ready": true, "restartCount": 1, "imageID": "sha", "containerID": "bulkhead://1",
                    "state": {"running": {"startedAt": "2026-01-02T03:04:06Z"}},
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                }],
            },
        });
        let mut text = Text::default();
        describe(&mut text, &pod, Timestamp::UNIX_EPOCH);
        let text = text.finish();
        for line in [
            "Name:           p",
            "Node:           n/10.88.0.11",
            "Status:         Running",
            "Controlled By:  ReplicaSet/r",
            "    State:          Running",
            "      Started:      Fri, 02 Jan 2026 03:04:06 +0000",
            "    Last State:     Terminated",
            "      Reason:       OOMKilled",
            "      Exit Code:    137",
            "    Restart Count:  1",
            "  Type   Status",
            "QoS Class:       BestEffort",
        ] {
            assert!(has_line(&text, line), "{line:?} is missing in\n{text}");
        }
    }
}
