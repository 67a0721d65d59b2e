//! A node in words: its state, its pods and what they ask for.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::text::{Text, date};
use crate::{
    json::{entries_at, is_true_at, items_at, scalar, text_at},
    output::age,
    top::quantity,
};

/// Describes a node.
pub(super) fn describe(text: &mut Text, node: &Value, pods: &[Value], now: Timestamp) {
    text.field("Name", text_at(node, "/metadata/name"));
    text.field("Roles", roles(node));
    text.map("Labels", node, "/metadata/labels", "=");
    text.map("Annotations", node, "/metadata/annotations", ": ");
    text.field("CreationTimestamp", date(text_at(node, "/metadata/creationTimestamp")));
    let taints: Vec<_> = items_at(node, "/spec/taints").map(taint).collect();
    text.list("Taints", &taints);
    text.field("Unschedulable", is_true_at(node, "/spec/unschedulable"));
    conditions(text, node);
    text.line("Addresses:");
    text.nested(|text| {
        for address in items_at(node, "/status/addresses") {
            text.field(text_at(address, "/type"), text_at(address, "/address"));
        }
    });
    for (label, pointer) in
        [("Capacity", "/status/capacity"), ("Allocatable", "/status/allocatable")]
    {
        text.line(&format!("{label}:"));
        text.nested(|text| {
            entries_at(node, pointer)
                .into_iter()
                .for_each(|(key, value)| text.field(key, scalar(value)));
        });
    }
    system_info(text, node);
    text.field_if("PodCIDR", text_at(node, "/spec/podCIDR"));
    let cidrs: Vec<_> = items_at(node, "/spec/podCIDRs").map(scalar).collect();
    text.field_if("PodCIDRs", &cidrs.join(","));
    text.field_if("ProviderID", text_at(node, "/spec/providerID"));
    list_pods(text, node, pods, now);
    allocated(text, node, pods);
}

fn roles(node: &Value) -> String {
    let roles: Vec<_> = entries_at(node, "/metadata/labels")
        .into_iter()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn taint(taint: &Value) -> String {
    let (key, value) = (text_at(taint, "/key"), text_at(taint, "/value"));
    let value = if value.is_empty() { String::new() } else { format!("={value}") };
    format!("{key}{value}:{}", text_at(taint, "/effect"))
}

fn conditions(text: &mut Text, node: &Value) {
    if items_at(node, "/status/conditions").next().is_none() {
        return;
    }
    text.line("Conditions:");
    text.nested(|text| {
        text.line("Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
        text.line("----\t------\t-----------------\t------------------\t------\t-------");
        for condition in items_at(node, "/status/conditions") {
            text.line(&format!(
                "{} \t{} \t{} \t{} \t{} \t{}",
                text_at(condition, "/type"),
                text_at(condition, "/status"),
                date(text_at(condition, "/lastHeartbeatTime")),
                date(text_at(condition, "/lastTransitionTime")),
                text_at(condition, "/reason"),
                text_at(condition, "/message"),
            ));
        }
    });
}

fn system_info(text: &mut Text, node: &Value) {
    const FIELDS: [(&str, &str); 9] = [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ];
    text.line("System Info:");
    text.nested(|text| {
        for (label, field) in FIELDS {
            text.field(label, text_at(node, &format!("/status/nodeInfo/{field}")));
        }
    });
}

/// What a pod asks for: the sum of its containers, or its largest init container.
fn asked(pod: &Value, which: &str, resource: &str) -> f64 {
    let of =
        |container: &Value| quantity(text_at(container, &format!("/resources/{which}/{resource}")));
    let sum: f64 = items_at(pod, "/spec/containers").map(of).sum();
    let largest = items_at(pod, "/spec/initContainers").map(of).fold(0.0, f64::max);
    let overhead = match which {
        "requests" => quantity(text_at(pod, &format!("/spec/overhead/{resource}"))),
        _ => 0.0,
    };
    sum.max(largest) + overhead
}

fn amount(resource: &str, value: f64) -> String {
    match resource {
        "cpu" if value > 0.0 && value.fract() != 0.0 => {
            format!("{}m", (value * 1000.0).round() as i64)
        }
        "cpu" => format!("{}", value as i64),
        _ if value >= 1024.0 && value % 1_048_576.0 == 0.0 => {
            format!("{}Mi", (value / 1_048_576.0) as i64)
        }
        _ if value >= 1024.0 && value % 1024.0 == 0.0 => format!("{}Ki", (value / 1024.0) as i64),
        _ => format!("{}", value as i64),
    }
}

fn percent(value: f64, room: f64) -> i64 {
    if room > 0.0 { (value / room * 100.0) as i64 } else { 0 }
}

const COLUMNS: [(&str, &str); 4] =
    [("requests", "cpu"), ("limits", "cpu"), ("requests", "memory"), ("limits", "memory")];

fn list_pods(text: &mut Text, node: &Value, pods: &[Value], now: Timestamp) {
    text.field("Non-terminated Pods", format!("({} in total)", pods.len()));
    text.nested(|text| {
        text.line("Namespace\tName\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
        text.line("---------\t----\t------------\t----------\t---------------\t-------------\t---");
        for pod in pods {
            let cells: Vec<_> = COLUMNS
                .iter()
                .map(|(which, resource)| {
                    let value = asked(pod, which, resource);
                    let room = quantity(text_at(node, &format!("/status/allocatable/{resource}")));
                    format!("{} ({}%)", amount(resource, value), percent(value, room))
                })
                .collect();
            text.line(&format!(
                "{}\t{}\t{}\t{}",
                text_at(pod, "/metadata/namespace"),
                text_at(pod, "/metadata/name"),
                cells.join("\t"),
                age::since(text_at(pod, "/metadata/creationTimestamp"), now),
            ));
        }
    });
}

fn allocated(text: &mut Text, node: &Value, pods: &[Value]) {
    text.line("Allocated resources:");
    text.nested(|text| {
        text.line("(Total limits may be over 100 percent, i.e., overcommitted.)");
        text.line("Resource\tRequests\tLimits");
        text.line("--------\t--------\t------");
        for resource in ["cpu", "memory", "ephemeral-storage"] {
            let room = quantity(text_at(node, &format!("/status/allocatable/{resource}")));
            let cell = |which: &str| {
                let value: f64 = pods.iter().map(|pod| asked(pod, which, resource)).sum();
                format!("{} ({}%)", amount(resource, value), percent(value, room))
            };
            text.line(&format!("{resource}\t{}\t{}", cell("requests"), cell("limits")));
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::describe::text::tests::has_line;

    #[test]
    fn requests_are_summed() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "x"},
            "spec": {
                "containers": [{"resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}, {"resources": {"requests": {"cpu": "250m"}}}],
                "initContainers": [{"resources": {"requests": {"memory": "128Mi"}}}],
                "overhead": {"memory": "24Mi"},
            },
        });
        assert_eq!(amount("cpu", asked(&pod, "requests", "cpu")), "500m");
        assert_eq!(amount("memory", asked(&pod, "requests", "memory")), "152Mi");
        let node = json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": ""}},
            "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
            "status": {"allocatable": {"cpu": "2", "memory": "1520Mi"}},
        });
        let mut text = Text::default();
        describe(&mut text, &node, &[pod], Timestamp::UNIX_EPOCH);
        let text = text.finish();
        for line in [
            "Roles:              worker",
            "Taints:             a:NoSchedule",
            "  x          p     500m (25%)    0 (0%)      152Mi (10%)      0 (0%)         <unknown>",
            "  cpu                500m (25%)   0 (0%)",
        ] {
            assert!(has_line(&text, line), "{line:?} is missing in\n{text}");
        }
    }
}
