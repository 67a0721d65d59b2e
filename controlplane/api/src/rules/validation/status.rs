//! What a write of the status subresource may say, upstream's `Validate<Kind>StatusUpdate`.

mod certificate;
mod job;
mod pod;
mod workloads;

use std::collections::BTreeSet;

use serde_json::Value;

use super::{items, resources, text};
use crate::Kind;
use crate::rules::ip;
use crate::rules::names;
use crate::rules::problems::Problems;

const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// What a quota may limit, besides huge pages and names with a domain.
const QUOTA_NAMES: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const RESIZE_STATUSES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
];

pub(super) fn validate(kind: &Kind, new: &Value, old: &Value, problems: &mut Problems) {
    let (name, status) = (kind.kind.as_str(), &new["status"]);
    match kind.group.as_str() {
        "" => validate_core(name, new, old, problems),
        "apps" => workloads::validate(name, status, &old["status"], problems),
        "batch" if name == "Job" => job::validate(new, old, problems),
        "autoscaling" => {
            check_counts(status, &["currentReplicas", "desiredReplicas"], problems);
        }
        "policy" => {
            check_conditions(status, problems);
            let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
            check_counts(status, &counts, problems);
        }
        "networking.k8s.io" if name == "Ingress" => {
            let before = &old["status"]["loadBalancer"];
            check_balancer(&status["loadBalancer"], before, false, problems);
        }
        "flowcontrol.apiserver.k8s.io" => check_condition_types(status, problems),
        "certificates.k8s.io" if name == "CertificateSigningRequest" => {
            certificate::validate(status, &old["status"], problems);
        }
        "admissionregistration.k8s.io" => check_conditions(status, problems),
        "storagemigration.k8s.io" => check_migration(status, &old["status"], problems),
        _ => {}
    }
}

fn validate_core(name: &str, new: &Value, old: &Value, problems: &mut Problems) {
    let (status, before) = (&new["status"], &old["status"]);
    match name {
        "Pod" => pod::validate(new, old, problems),
        "Node" => check_node(status, problems),
        "ReplicationController" => workloads::validate(name, status, before, problems),
        "Service" => check_service(new, &before["loadBalancer"], problems),
        "ResourceQuota" => check_quota(status, problems),
        "Namespace" => check_namespace(new, problems),
        "PersistentVolumeClaim" => check_claim(status, problems),
        _ => {}
    }
}

/// Numbers that may not be below zero.
fn check_counts(status: &Value, fields: &[&str], problems: &mut Problems) {
    for field in fields {
        problems.check_not_negative(&format!("status.{field}"), &status[*field]);
    }
}

/// Upstream's `ValidateConditions`, for the conditions that all newer kinds share.
fn check_conditions(status: &Value, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (path, condition) in items(status, "conditions", "status") {
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            problems.duplicate(&format!("{path}.type"), &condition["type"]);
        }
        check_condition(condition, kind, &path, problems);
    }
}

fn check_condition(condition: &Value, kind: &str, path: &str, problems: &mut Problems) {
    problems.check_text(&format!("{path}.type"), kind, names::label_key(kind));
    let held = text(condition, "status");
    if !matches!(held, "True" | "False" | "Unknown") {
        let at = format!("{path}.status");
        problems.not_supported(&at, &Value::from(held), &["False", "True", "Unknown"]);
    }
    let generation = &condition["observedGeneration"];
    if generation.as_i64().is_some_and(|generation| generation < 0) {
        let detail = "must be greater than or equal to zero";
        problems.invalid(&format!("{path}.observedGeneration"), generation, detail);
    }
    if text(condition, "lastTransitionTime").is_empty() {
        problems.required(&format!("{path}.lastTransitionTime"), "");
    }
    let (at, reason) = (format!("{path}.reason"), text(condition, "reason"));
    if reason.is_empty() {
        problems.required(&at, "");
    } else {
        problems.check_text(&at, reason, names::condition_reason(reason));
        if reason.len() > REASON_BYTES_MAX {
            problems.too_long(&at, REASON_BYTES_MAX);
        }
    }
    if text(condition, "message").len() > MESSAGE_BYTES_MAX {
        problems.too_long(&format!("{path}.message"), MESSAGE_BYTES_MAX);
    }
}

/// Conditions of flow control: each has a type, once.
fn check_condition_types(status: &Value, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (path, condition) in items(status, "conditions", "status") {
        let (at, kind) = (format!("{path}.type"), text(condition, "type"));
        if !seen.insert(kind) {
            problems.duplicate(&at, &Value::from(kind));
        }
        if kind.is_empty() {
            problems.required(&at, "");
        }
    }
}

/// Whether a condition of a type is there and true.
fn is_true(status: &Value, kind: &str) -> bool {
    items(status, "conditions", "").any(|(_, one)| one["type"] == kind && one["status"] == "True")
}

fn check_migration(status: &Value, before: &Value, problems: &mut Problems) {
    check_conditions(status, problems);
    let (version, held) = (text(status, "resourceVersion"), text(before, "resourceVersion"));
    if !held.is_empty() && version != held {
        problems.invalid_text("status.resourceVersion", version, "field is immutable");
    }
    let mut complain =
        |detail: &str| problems.invalid("status.conditions", &status["conditions"], detail);
    if is_true(status, "Succeeded") && is_true(status, "Failed") {
        complain("Both success and failed conditions cannot be true at the same time");
    }
    for (kind, word) in [("Succeeded", "Success"), ("Failed", "Failed")] {
        if is_true(before, kind) && !is_true(status, kind) {
            complain(&format!("{word} condition cannot be set to false once it is true"));
        }
    }
}

/// Capacities, addresses and features of a node.
pub(super) fn check_node(status: &Value, problems: &mut Problems) {
    for section in ["capacity", "allocatable"] {
        for (name, amount) in status[section].as_object().into_iter().flatten() {
            let path = format!("status.{section}.{name}");
            resources::check_amount(amount, &path, is_whole(name), problems);
        }
    }
    let mut seen = BTreeSet::new();
    for (path, address) in items(status, "addresses", "status") {
        let pair = (text(address, "type"), text(address, "address"));
        if !seen.insert(pair) {
            // Upstream shows its own names of the fields, in its own order.
            let shown = format!("{{\"Type\":{:?},\"Address\":{:?}}}", pair.0, pair.1);
            problems.push(crate::status::Cause {
                reason: "FieldValueDuplicate".to_owned(),
                message: format!("Duplicate value: {shown}"),
                field: path,
            });
        }
    }
}

/// What is counted in whole units: objects and extended resources.
fn is_whole(name: &str) -> bool {
    match name {
        "pods"
        | "resourcequotas"
        | "services"
        | "replicationcontrollers"
        | "secrets"
        | "persistentvolumeclaims"
        | "configmaps"
        | "services.nodeports"
        | "services.loadbalancers" => true,
        _ => {
            name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
        }
    }
}

fn check_service(new: &Value, before: &Value, problems: &mut Problems) {
    let balancer = &new["status"]["loadBalancer"];
    let has_addresses = balancer["ingress"].as_array().is_some_and(|list| !list.is_empty());
    if has_addresses && new["spec"]["type"] != "LoadBalancer" {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        problems.forbidden("status.loadBalancer.ingress", detail);
    } else {
        check_balancer(balancer, before, true, problems);
    }
}

/// Addresses and names at which a load balancer answers; addresses that were there before stay valid.
fn check_balancer(balancer: &Value, before: &Value, has_modes: bool, problems: &mut Problems) {
    for (path, point) in items(balancer, "ingress", "status.loadBalancer") {
        let address = text(point, "ip");
        let is_known = || items(before, "ingress", "").any(|(_, one)| text(one, "ip") == address);
        if !address.is_empty() && !is_known() {
            problems.check_text(&format!("{path}.ip"), address, ip::legacy_address(address));
        }
        if has_modes {
            check_ip_mode(&point["ipMode"], address, &format!("{path}.ipMode"), problems);
        }
        let (at, name) = (format!("{path}.hostname"), text(point, "hostname"));
        if name.is_empty() {
            continue;
        }
        problems.check_text(&at, name, names::dns1123_subdomain(name));
        if ip::parse_loosely(name).is_some() {
            problems.invalid_text(&at, name, "must be a DNS name, not an IP address");
        }
    }
}

fn check_ip_mode(mode: &Value, address: &str, path: &str, problems: &mut Problems) {
    match (mode.is_null(), address.is_empty()) {
        (true, true) => {}
        (true, false) => problems.required(path, "must be specified when `ip` is set"),
        (false, true) => problems.forbidden(path, "may not be specified when `ip` is not set"),
        (false, false) => problems.check_choice(path, mode, &["Proxy", "VIP"]),
    }
}

fn check_quota(status: &Value, problems: &mut Problems) {
    for section in ["hard", "used"] {
        check_quota_amounts(&status[section], &format!("status.{section}"), problems);
    }
}

/// What a quota limits or counts, by name.
pub(super) fn check_quota_amounts(amounts: &Value, path: &str, problems: &mut Problems) {
    for (name, amount) in amounts.as_object().into_iter().flatten() {
        let path = format!("{path}[{name}]");
        check_quota_name(name, &path, problems);
        resources::check_amount(amount, &path, is_whole(name), problems);
    }
}

fn check_quota_name(name: &str, path: &str, problems: &mut Problems) {
    if let Some(problem) = names::label_key(name) {
        problems.invalid_text(path, name, &problem);
    } else if !name.contains('/') && !is_standard_quota(name) {
        if name != "storage" {
            let detail = "must be a standard resource type or fully qualified";
            problems.invalid_text(path, name, detail);
        }
        problems.invalid_text(path, name, "must be a standard resource for quota");
    }
}

fn is_standard_quota(name: &str) -> bool {
    let is_huge = name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-");
    is_huge || QUOTA_NAMES.contains(&name)
}

fn check_namespace(new: &Value, problems: &mut Problems) {
    let (phase, deleted) =
        (text(&new["status"], "phase"), new["metadata"]["deletionTimestamp"].is_string());
    let detail = match (deleted, phase) {
        (false, "Active") | (true, "Terminating") => return,
        (false, _) => "may only be 'Active' if `deletionTimestamp` is empty",
        (true, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
    };
    problems.invalid_text("status.Phase", phase, detail);
}

fn check_claim(status: &Value, problems: &mut Problems) {
    for (name, amount) in status["capacity"].as_object().into_iter().flatten() {
        check_basic(amount, &format!("status.capacity[{name}]"), problems);
    }
    for (name, state) in status["allocatedResourceStatuses"].as_object().into_iter().flatten() {
        if !state.as_str().is_some_and(|state| RESIZE_STATUSES.contains(&state)) {
            let path = "status.allocatedResourceStatuses";
            problems.not_supported(path, &Value::from(name.as_str()), &RESIZE_STATUSES);
        }
    }
    for (name, amount) in status["allocatedResources"].as_object().into_iter().flatten() {
        check_basic(amount, &format!("status.allocatedResources[{name}]"), problems);
    }
}

fn check_basic(amount: &Value, path: &str, problems: &mut Problems) {
    if let Some(parsed) = resources::parse(amount).filter(|parsed| parsed.is_negative()) {
        let value = Value::from(parsed.value());
        problems.invalid(path, &value, "must be a valid resource quantity");
    }
}

#[cfg(test)]
mod tests;
