//! Which nodes a daemon set's pods belong on (upstream `daemon_controller.go`: `NodeShouldRunDaemonPod`). Pure.

use client::selector::term_matches;
use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};
use kube::ResourceExt;

/// What a node is to a daemon set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has a pod.
    Run,
    /// It gets none, but keeps the one that it has.
    Keep,
    /// It has none.
    Never,
}

/// What a node is to pods of a spec that has `with_defaults`.
pub(super) fn place(spec: &PodSpec, node: &Node) -> Place {
    let named = spec.node_name.as_ref().is_none_or(|name| *name == node.name_any());
    let empty = std::collections::BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|it| it.node_affinity.as_ref());
    let required =
        affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    let attracted = required.is_none_or(|required| {
        required.node_selector_terms.iter().any(|it| term_matches(it, node))
    });
    if !(named && selected && attracted) {
        return Place::Never;
    }
    let taints = || node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let repelled = |effect: &str| {
        taints().filter(|taint| taint.effect == effect).any(|taint| {
            let tolerations = spec.tolerations.iter().flatten();
            !tolerations
                .into_iter()
                .any(|it| tolerates(it, &taint.key, taint.value.as_deref(), effect))
        })
    };
    match (repelled("NoExecute"), repelled("NoSchedule")) {
        (true, _) => Place::Never,
        (false, true) => Place::Keep,
        (false, false) => Place::Run,
    }
}

fn tolerates(toleration: &Toleration, key: &str, value: Option<&str>, effect: &str) -> bool {
    let own = |text: &Option<String>| text.clone().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let for_effect = own(&toleration.effect).is_empty() || own(&toleration.effect) == effect;
    let for_key = own(&toleration.key) == key || own(&toleration.key).is_empty() && exists;
    for_effect && for_key && (exists || own(&toleration.value) == value.unwrap_or_default())
}

/// Adds the tolerations that every daemon has: its node's troubles are no reason to leave.
pub(super) fn with_defaults(spec: &mut PodSpec) {
    let mut wanted = vec![
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    if spec.host_network == Some(true) {
        wanted.push(("network-unavailable", "NoSchedule"));
    }
    let tolerations = spec.tolerations.get_or_insert_default();
    for (name, effect) in wanted {
        let toleration = Toleration {
            key: Some(format!("node.kubernetes.io/{name}")),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

/// Ties a pod to a node; the scheduler still places it, when there is room.
pub(super) fn pin(spec: &mut PodSpec, node: &str) {
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: Some(vec![node.into()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), match_expressions: None };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_default()
        .node_selector_terms = vec![term];
}

/// The node that a pod is on, or tied to.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.first()?.match_fields.as_ref()?;
    let named = fields.iter().find(|field| field.key == "metadata.name")?;
    named.values.as_ref()?.first().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(spec: Value, node: Value) -> Place {
        let mut spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        with_defaults(&mut spec);
        place(&spec, &serde_json::from_value(node).expect("a node"))
    }

    #[test]
    fn selectors_attract_and_taints_repel() {
        let plain = || json!({"containers": []});
        let tainted = |key: &str, effect: &str| json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": key, "effect": effect}]}});
        for (spec, node, expect) in [
            (plain(), json!({"metadata": {"name": "n"}}), Place::Run),
            (
                json!({"containers": [], "nodeSelector": {"color": "blue"}}),
                json!({"metadata": {"name": "n"}}),
                Place::Never,
            ),
            (
                json!({"containers": [], "nodeSelector": {"color": "blue"}}),
                json!({"metadata": {"name": "n", "labels": {"color": "blue"}}}),
                Place::Run,
            ),
            (plain(), tainted("own", "NoSchedule"), Place::Keep),
            (plain(), tainted("own", "NoExecute"), Place::Never),
            (plain(), tainted("node.kubernetes.io/unschedulable", "NoSchedule"), Place::Run),
            (plain(), tainted("node.kubernetes.io/not-ready", "NoExecute"), Place::Run),
            (
                json!({"containers": [], "tolerations": [{"operator": "Exists"}]}),
                tainted("own", "NoExecute"),
                Place::Run,
            ),
        ] {
            assert_eq!(of(spec.clone(), node.clone()), expect, "{spec} {node}");
        }
    }

    #[test]
    fn a_pinned_pod_knows_its_node() {
        let mut pod = Pod::default();
        pin(pod.spec.get_or_insert_default(), "n");
        assert_eq!(node_of(&pod), Some("n"));
        pod.spec.get_or_insert_default().node_name = Some("m".into());
        assert_eq!(node_of(&pod), Some("m"));
    }
}
