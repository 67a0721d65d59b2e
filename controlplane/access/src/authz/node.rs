//! The node authorizer: a kubelet reads what its pods need and writes about itself
//! (upstream `plugin/pkg/auth/authorizer/node`).

use super::{Attributes, Decision, node_graph::is_related};
use crate::Lookup;

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Rights of every node that need no look at its pods: group, resources (with subresource), verbs.
/// What is written through them is checked again by NodeRestriction.
const STATIC: &[(&str, &[&str], &[&str])] = &[
    ("authentication.k8s.io", &["tokenreviews"], &["create"]),
    ("authorization.k8s.io", &["subjectaccessreviews", "localsubjectaccessreviews"], &["create"]),
    ("", &["services"], &["get", "list", "watch"]),
    // All nodes, where upstream shows a kubelet its own only: our agent builds the overlay between nodes, as the network
    // plugins' accounts on every upstream node may too.
    ("", &["nodes"], &["create", "get", "list", "watch"]),
    ("", &["events"], &["create", "patch", "update"]),
    ("events.k8s.io", &["events"], &["create", "patch", "update"]),
    ("", &["pods"], &["create", "delete"]),
    ("", &["pods/status"], &["update", "patch"]),
    ("", &["pods/eviction"], &["create"]),
    ("certificates.k8s.io", &["certificatesigningrequests"], &["create", "get", "list", "watch"]),
    ("certificates.k8s.io", &["clustertrustbundles"], &["get", "list", "watch"]),
    ("node.k8s.io", &["runtimeclasses"], &["get", "list", "watch"]),
    ("storage.k8s.io", &["csidrivers"], &["get", "list", "watch"]),
    // Our agent is also the node's service proxy and resolver.
    ("", &["endpoints", "namespaces"], &["get", "list", "watch"]),
    ("discovery.k8s.io", &["endpointslices"], &["get", "list", "watch"]),
    ("networking.k8s.io", &["networkpolicies"], &["get", "list", "watch"]),
];

pub(super) fn authorize(lookup: &dyn Lookup, wanted: &Attributes) -> Decision {
    let Some(node) = wanted.user.node() else { return Decision::NoOpinion(String::new()) };
    if wanted.resource.is_empty() {
        return Decision::NoOpinion(String::new());
    }
    match decide(lookup, node, wanted) {
        Ok(()) => Decision::Allow(String::new()),
        Err(reason) => Decision::NoOpinion(reason),
    }
}

fn decide(lookup: &dyn Lookup, node: &str, wanted: &Attributes) -> Result<(), String> {
    let (verb, sub) = (wanted.verb.as_str(), wanted.subresource.as_str());
    match (wanted.group.as_str(), wanted.resource.as_str()) {
        ("", "secrets" | "configmaps") => check_read(lookup, node, wanted),
        ("", "persistentvolumeclaims") if sub == "status" => match verb {
            "get" | "update" | "patch" => check_related(lookup, node, wanted),
            _ => Err("can only get/update/patch this type".into()),
        },
        ("", "persistentvolumeclaims" | "persistentvolumes")
        | ("resource.k8s.io", "resourceclaims") => check_get(lookup, node, wanted),
        ("", "serviceaccounts") if sub == "token" => match verb {
            "create" => check_related(lookup, node, wanted),
            _ => Err("can only create tokens for individual service accounts".into()),
        },
        ("", "serviceaccounts") => check_get(lookup, node, wanted),
        ("", "pods") if sub.is_empty() && matches!(verb, "get" | "list" | "watch") => {
            check_pods(lookup, node, wanted)
        }
        ("storage.k8s.io", "volumeattachments") => check_attachment(lookup, node, wanted),
        ("", "nodes") if !matches!(verb, "create" | "get" | "list" | "watch") => {
            check_own(node, wanted, &["update", "patch", "delete"])
        }
        ("coordination.k8s.io", "leases") if wanted.namespace == LEASE_NAMESPACE => {
            check_own(node, wanted, &["get", "create", "update", "patch", "delete"])
        }
        ("coordination.k8s.io", "leases") => {
            Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"))
        }
        ("storage.k8s.io", "csinodes") => {
            check_own(node, wanted, &["get", "create", "update", "patch", "delete"])
        }
        _ => check_static(wanted),
    }
}

fn check_static(wanted: &Attributes) -> Result<(), String> {
    let resource = if wanted.subresource.is_empty() {
        wanted.resource.clone()
    } else {
        format!("{}/{}", wanted.resource, wanted.subresource)
    };
    let is_allowed = STATIC.iter().any(|(group, resources, verbs)| {
        *group == wanted.group
            && resources.contains(&resource.as_str())
            && verbs.contains(&wanted.verb.as_str())
    });
    if is_allowed { Ok(()) } else { Err(String::new()) }
}

fn check_read(lookup: &dyn Lookup, node: &str, wanted: &Attributes) -> Result<(), String> {
    if !matches!(wanted.verb.as_str(), "get" | "list" | "watch") {
        return Err("can only read resources of this type".into());
    }
    check_plain(wanted)?;
    if wanted.namespace.is_empty() {
        return Err("can only read namespaced object of this type".into());
    }
    check_related(lookup, node, wanted)
}

fn check_get(lookup: &dyn Lookup, node: &str, wanted: &Attributes) -> Result<(), String> {
    if wanted.verb != "get" {
        return Err("can only get individual resources of this type".into());
    }
    check_plain(wanted)?;
    check_related(lookup, node, wanted)
}

fn check_plain(wanted: &Attributes) -> Result<(), String> {
    if wanted.subresource.is_empty() { Ok(()) } else { Err("cannot read subresource".into()) }
}

fn check_related(lookup: &dyn Lookup, node: &str, wanted: &Attributes) -> Result<(), String> {
    if wanted.name.is_empty() {
        return Err("No Object name found".into());
    }
    if is_related(lookup, node, &wanted.resource, &wanted.namespace, &wanted.name) {
        return Ok(());
    }
    Err(format!("no relationship found between node '{node}' and this object"))
}

fn check_attachment(lookup: &dyn Lookup, node: &str, wanted: &Attributes) -> Result<(), String> {
    if wanted.verb != "get" {
        return Err("can only get individual resources of this type".into());
    }
    let attachment = lookup.get("storage.k8s.io", "volumeattachments", "", &wanted.name);
    if attachment.is_some_and(|attachment| attachment["spec"]["nodeName"].as_str() == Some(node)) {
        return Ok(());
    }
    Err(format!("no relationship found between node '{node}' and this object"))
}

/// The pods of this node: one of them, or a list that selects them (upstream `AuthorizeNodeWithSelectors`).
fn check_pods(lookup: &dyn Lookup, node: &str, wanted: &Attributes) -> Result<(), String> {
    if wanted.name.is_empty() {
        let selects = |(field, value): &(String, String)| field == "spec.nodeName" && value == node;
        if wanted.verb != "get" && wanted.fields.iter().any(selects) {
            return Ok(());
        }
        return Err("can only list/watch pods with spec.nodeName field selector".into());
    }
    let pod = lookup.get("", "pods", &wanted.namespace, &wanted.name);
    if pod.is_some_and(|pod| pod["spec"]["nodeName"].as_str() == Some(node)) {
        return Ok(());
    }
    Err(format!("no relationship found between node '{node}' and this object"))
}

/// An object that bears the node's name. A create does not always tell the name; admission looks at the object.
fn check_own(node: &str, wanted: &Attributes, verbs: &[&str]) -> Result<(), String> {
    if !verbs.contains(&wanted.verb.as_str()) {
        return Err(format!("can only {} this type", verbs.join(", ")));
    }
    if wanted.verb != "create" && wanted.name != node {
        return Err(format!(
            "can only access {} with the same name as the requesting node",
            wanted.resource
        ));
    }
    Ok(())
}
