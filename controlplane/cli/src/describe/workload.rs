//! Deployments, replica sets, stateful sets and daemon sets in words.

use serde_json::Value;

use super::{
    pod::controller,
    template,
    text::{Text, date, or_none},
};
use crate::{
    expose::selector_text,
    json::{items_at, number_at, scalar, text_at},
};

const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

fn head(text: &mut Text, object: &Value, with_time: bool) {
    text.field("Name", text_at(object, "/metadata/name"));
    text.field("Namespace", text_at(object, "/metadata/namespace"));
    if with_time {
        text.field("CreationTimestamp", date(text_at(object, "/metadata/creationTimestamp")));
    }
}

fn count(object: &Value, pointer: &str) -> i64 {
    number_at(object, pointer).unwrap_or(0)
}

/// Describes a deployment with its replica sets.
pub(super) fn describe_deployment(text: &mut Text, object: &Value, sets: &[Value]) {
    head(text, object, true);
    text.map("Labels", object, "/metadata/labels", "=");
    text.map("Annotations", object, "/metadata/annotations", ": ");
    text.field("Selector", or_none(&selector_text(object, "/spec/selector/matchLabels")));
    text.field(
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            count(object, "/spec/replicas"),
            count(object, "/status/updatedReplicas"),
            count(object, "/status/replicas"),
            count(object, "/status/availableReplicas"),
            count(object, "/status/unavailableReplicas"),
        ),
    );
    text.field("StrategyType", text_at(object, "/spec/strategy/type"));
    text.field("MinReadySeconds", count(object, "/spec/minReadySeconds"));
    if let Some(rolling) = object.pointer("/spec/strategy/rollingUpdate") {
        let value = |field: &str| rolling.get(field).map(scalar).unwrap_or_default();
        text.field(
            "RollingUpdateStrategy",
            format!("{} max unavailable, {} max surge", value("maxUnavailable"), value("maxSurge")),
        );
    }
    template::describe(text, &object["spec"]["template"]);
    conditions(text, object);
    let (old, new) = split_sets(object, sets);
    text.field("OldReplicaSets", or_none(&old));
    text.field("NewReplicaSet", or_none(&new));
}

/// Old sets that still have pods, and the set of the present revision.
fn split_sets(object: &Value, sets: &[Value]) -> (String, String) {
    let revision = text_at(object, REVISION);
    let line = |set: &Value| {
        format!(
            "{} ({}/{} replicas created)",
            text_at(set, "/metadata/name"),
            count(set, "/status/replicas"),
            count(set, "/spec/replicas"),
        )
    };
    let is_new = |set: &&Value| text_at(set, REVISION) == revision;
    let old: Vec<_> = sets.iter().filter(|set| !is_new(set)).map(line).collect();
    let new: Vec<_> = sets.iter().filter(is_new).map(line).collect();
    (old.join(", "), new.join(", "))
}

fn conditions(text: &mut Text, object: &Value) {
    if items_at(object, "/status/conditions").next().is_none() {
        return;
    }
    text.line("Conditions:");
    text.nested(|text| {
        text.line("Type\tStatus\tReason");
        text.line("----\t------\t------");
        for condition in items_at(object, "/status/conditions") {
            text.line(&format!(
                "{} \t{}\t{}",
                text_at(condition, "/type"),
                text_at(condition, "/status"),
                text_at(condition, "/reason")
            ));
        }
    });
}

/// `2 Running / 1 Waiting / 0 Succeeded / 0 Failed` of an owner's pods.
fn phases(owner: &Value, pods: &[Value]) -> String {
    let uid = text_at(owner, "/metadata/uid");
    let is_owned = |pod: &&Value| {
        items_at(pod, "/metadata/ownerReferences").any(|owner| text_at(owner, "/uid") == uid)
    };
    let count = |phase: &str| {
        pods.iter().filter(is_owned).filter(|pod| text_at(pod, "/status/phase") == phase).count()
    };
    format!(
        "{} Running / {} Waiting / {} Succeeded / {} Failed",
        count("Running"),
        count("Pending"),
        count("Succeeded"),
        count("Failed")
    )
}

/// Describes a replica set, stateful set or daemon set with the pods of its selector.
pub(super) fn describe_other(text: &mut Text, object: &Value, pods: &[Value]) {
    let kind = text_at(object, "/kind");
    head(text, object, kind == "StatefulSet");
    text.field("Selector", or_none(&selector_text(object, "/spec/selector/matchLabels")));
    if kind == "DaemonSet" {
        text.map("Node-Selector", object, "/spec/template/spec/nodeSelector", "=");
    }
    text.map("Labels", object, "/metadata/labels", "=");
    text.map("Annotations", object, "/metadata/annotations", ": ");
    if let Some(owner) = controller(object) {
        text.field("Controlled By", owner);
    }
    if kind == "DaemonSet" {
        for (label, field) in [
            ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
            ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
            ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
            ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
            ("Number of Nodes Misscheduled", "numberMisscheduled"),
        ] {
            text.field(label, count(object, &format!("/status/{field}")));
        }
    } else {
        let current = count(object, "/status/replicas");
        let wanted = count(object, "/spec/replicas");
        let words =
            if kind == "ReplicaSet" { ("current", "desired") } else { ("desired", "total") };
        let numbers = if kind == "ReplicaSet" { (current, wanted) } else { (wanted, current) };
        text.field("Replicas", format!("{} {} / {} {}", numbers.0, words.0, numbers.1, words.1));
    }
    text.field("Pods Status", phases(object, pods));
    template::describe(text, &object["spec"]["template"]);
    for claim in items_at(object, "/spec/volumeClaimTemplates").take(1) {
        text.line("Volume Claims:");
        text.nested(|text| {
            text.field("Name", text_at(claim, "/metadata/name"));
            text.field("StorageClass", text_at(claim, "/spec/storageClassName"));
            text.field("Capacity", text_at(claim, "/spec/resources/requests/storage"));
        });
    }
    conditions(text, object);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::describe::text::tests::has_line;

    #[test]
    fn a_deployment_is_described_with_its_sets() {
        let set = |name: &str, revision: &str, replicas: i64| {
            json!({
                "metadata": {"name": name, "annotations": {"deployment.kubernetes.io/revision": revision}},
                "spec": {"replicas": replicas}, "status": {"replicas": replicas},
            })
        };
        let deployment = json!({
            "metadata": {"name": "d", "namespace": "x", "annotations": {"deployment.kubernetes.io/revision": "2"}},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1}},
                "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}},
            },
            "status": {"updatedReplicas": 3, "replicas": 3, "availableReplicas": 2, "unavailableReplicas": 1},
        });
        let mut text = Text::default();
        describe_deployment(&mut text, &deployment, &[set("d-1", "1", 0), set("d-2", "2", 3)]);
        let text = text.finish();
        for line in [
            "Replicas:               3 desired | 3 updated | 3 total | 2 available | 1 unavailable",
            "RollingUpdateStrategy:  25% max unavailable, 1 max surge",
            "OldReplicaSets:  d-1 (0/0 replicas created)",
            "NewReplicaSet:   d-2 (3/3 replicas created)",
        ] {
            assert!(has_line(&text, line), "{line:?} is missing in\n{text}");
        }
    }
}
