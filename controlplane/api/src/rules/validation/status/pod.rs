//! A pod's status.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{items, text};
use crate::rules::ip;
use crate::rules::names;
use crate::rules::problems::Problems;

/// Conditions of upstream's own with names of any form.
const OWN_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
const RESTART_ALL: &str = "RestartAllContainers";

pub(super) fn validate(new: &Value, old: &Value, problems: &mut Problems) {
    let (status, before, spec) = (&new["status"], &old["status"], &old["spec"]);
    check_conditions(status, problems);
    check_nominated(status, before, spec, problems);
    check_generation(status, "status", problems);
    problems.check_immutable("status.qosClass", &status["qosClass"], &before["qosClass"]);
    check_states("containerStatuses", "containers", status, before, spec, problems);
    check_states("initContainerStatuses", "initContainers", status, before, spec, problems);
    check_states("ephemeralContainerStatuses", "", status, before, spec, problems);
    check_claims(status, &new["spec"], problems);
    check_addresses(status, before, "podIPs", problems);
    if let Some(first) = status["hostIPs"].get(0)
        && text(first, "ip") != text(status, "hostIP")
    {
        let (path, address) = ("status.hostIPs[0].ip", text(first, "ip"));
        problems.invalid_text(path, address, "must be equal to `hostIP`");
    }
    check_addresses(status, before, "hostIPs", problems);
}

fn check_generation(object: &Value, path: &str, problems: &mut Problems) {
    let generation = &object["observedGeneration"];
    if generation.as_i64().is_some_and(|generation| generation < 0) {
        let detail = "must be a non-negative integer";
        problems.invalid(&format!("{path}.observedGeneration"), generation, detail);
    }
}

fn check_conditions(status: &Value, problems: &mut Problems) {
    for (path, condition) in items(status, "conditions", "status") {
        check_generation(condition, &path, problems);
        let kind = text(condition, "type");
        if !OWN_CONDITIONS.contains(&kind) {
            problems.check_text(&format!("{path}.Type"), kind, names::label_key(kind));
        }
    }
}

/// A node may be nominated until the pod has one.
fn check_nominated(status: &Value, before: &Value, spec: &Value, problems: &mut Problems) {
    let (path, name) = ("status.nominatedNodeName", text(status, "nominatedNodeName"));
    if name.is_empty() || name == text(before, "nominatedNodeName") {
        return;
    }
    problems.check_text(path, name, names::dns1123_subdomain(name));
    if !text(spec, "nodeName").is_empty() {
        problems.forbidden(path, "may not be set on pods that are already bound to a node");
    }
}

/// What has terminated stays so unless it may be restarted. `list` is the containers' field in the spec; ephemeral ones
/// have none, as they never start again.
fn check_states(
    field: &str,
    list: &str,
    status: &Value,
    before: &Value,
    spec: &Value,
    problems: &mut Problems,
) {
    if !list.is_empty() && restarts_all(spec) {
        return;
    }
    for (path, was) in items(before, field, "status") {
        let terminated = &was["state"]["terminated"];
        if terminated.is_null() {
            continue;
        }
        let is_same = |one: &Value| one["name"] == was["name"];
        let revived = items(status, field, "")
            .any(|(_, one)| is_same(one) && one["state"]["terminated"].is_null());
        let exit_code = terminated["exitCode"].as_i64().unwrap_or(0);
        let allowed = items(spec, list, "")
            .find(|(_, container)| is_same(container))
            .is_some_and(|(_, container)| may_restart(container, spec, exit_code));
        if revived && !allowed {
            let detail = "may not be transitioned to non-terminated state";
            problems.forbidden(&format!("{path}.state"), detail);
        }
    }
}

/// Whether a container's end may start all of them again.
fn restarts_all(spec: &Value) -> bool {
    ["initContainers", "containers"].iter().any(|list| {
        items(spec, list, "").any(|(_, container)| {
            items(container, "restartPolicyRules", "")
                .any(|(_, rule)| rule["action"] == RESTART_ALL)
        })
    })
}

/// The container's rules, then its policy, then the pod's.
fn may_restart(container: &Value, spec: &Value, exit_code: i64) -> bool {
    let own = text(container, "restartPolicy");
    if !own.is_empty() {
        let rule = items(container, "restartPolicyRules", "")
            .find(|(_, rule)| matches_exit(&rule["exitCodes"], exit_code));
        if rule.is_some_and(|(_, rule)| rule["action"] == "Restart") {
            return true;
        }
    }
    match if own.is_empty() { text(spec, "restartPolicy") } else { own } {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

fn matches_exit(codes: &Value, exit_code: i64) -> bool {
    let is_listed = items(codes, "values", "").any(|(_, code)| code.as_i64() == Some(exit_code));
    match text(codes, "operator") {
        "In" => is_listed,
        "NotIn" => !is_listed,
        _ => false,
    }
}

fn check_claims(status: &Value, spec: &Value, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (path, claim) in items(status, "resourceClaimStatuses", "status") {
        let (at, name) = (format!("{path}.name"), text(claim, "name"));
        if !items(spec, "resourceClaims", "").any(|(_, one)| text(one, "name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            problems.invalid_text(&at, name, detail);
        }
        if !seen.insert(name) {
            problems.duplicate(&at, &claim["name"]);
        }
        if let Some(name) = claim["resourceClaimName"].as_str() {
            let at = format!("{path}.resourceClaimName");
            problems.check_text(&at, name, names::dns1123_subdomain(name));
        }
    }
}

/// Addresses are valid or were there before, at most one of each family.
fn check_addresses(status: &Value, before: &Value, field: &str, problems: &mut Problems) {
    let mut addresses = Vec::new();
    for (path, one) in items(status, field, "status") {
        let address = text(one, "ip");
        if !items(before, field, "").any(|(_, known)| text(known, "ip") == address) {
            problems.check_text(&path, address, ip::legacy_address(address));
        }
        addresses.push(address);
    }
    let parsed: Vec<_> = addresses.iter().filter_map(|one| ip::parse_loosely(one)).collect();
    let is_mixed = match parsed.as_slice() {
        [first, second] => first.is_ipv4() != second.is_ipv4(),
        _ => false,
    };
    // What is no address has been said already.
    if addresses.len() > 1 && parsed.len() == addresses.len() && !is_mixed {
        let shown: Vec<Value> = addresses.iter().map(|address| json!({"IP": address})).collect();
        let detail = "may specify no more than one IP for each IP family";
        problems.invalid(&format!("status.{field}"), &Value::from(shown), detail);
    }
}
