//! Columns of rbac, certificates, admission, extension, scheduling, node, coordination and flow control.

use serde_json::{Value, json};

use super::Column;
use super::cells::{
    NONE, age, any_text, at, boolean, count, created_at, integer, joined, list, name, number, or,
    text, wide,
};
use crate::time;

pub(super) fn columns(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "Role" | "ClusterRole" | "CustomResourceDefinition" => vec![name(), created_at()],
        "RoleBinding" | "ClusterRoleBinding" => binding(),
        "CertificateSigningRequest" => signing_request(),
        "Lease" => vec![name(), text("Holder", |o, _| json!(at(o, "spec.holderIdentity"))), age()],
        "PriorityClass" => vec![
            name(),
            integer("Value", |o, _| json!(number(o, "value"))),
            boolean("Global-Default", |o, _| json!(o["globalDefault"] == true)),
            age(),
            text("PreemptionPolicy", |o, _| json!(at(o, "preemptionPolicy"))),
        ],
        "RuntimeClass" => vec![name(), text("Handler", |o, _| json!(at(o, "handler"))), age()],
        "APIService" => vec![
            name(),
            text("Service", |o, _| json!(api_service(o))),
            text("Available", |o, _| json!(available(o))),
            age(),
        ],
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            vec![name(), integer("Webhooks", |o, _| json!(count(o, "webhooks"))), age()]
        }
        "ValidatingAdmissionPolicy" => vec![
            name(),
            integer("Validations", |o, _| json!(count(o, "spec.validations"))),
            text("ParamKind", |o, _| json!(param_kind(o))),
            age(),
        ],
        "MutatingAdmissionPolicy" => vec![
            name(),
            integer("Mutations", |o, _| json!(count(o, "spec.mutations"))),
            text("ParamKind", |o, _| json!(param_kind(o))),
            age(),
        ],
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => vec![
            name(),
            text("PolicyName", |o, _| json!(at(o, "spec.policyName"))),
            text("ParamRef", |o, _| json!(param_ref(o))),
            age(),
        ],
        "FlowSchema" => flow_schema(),
        "PriorityLevelConfiguration" => priority_level(),
        _ => return None,
    })
}

fn binding() -> Vec<Column> {
    vec![
        name(),
        text("Role", |o, _| json!(format!("{}/{}", at(o, "roleRef.kind"), at(o, "roleRef.name")))),
        age(),
        wide("Users", |o, _| json!(subjects(o, "User"))),
        wide("Groups", |o, _| json!(subjects(o, "Group"))),
        wide("ServiceAccounts", |o, _| json!(subjects(o, "ServiceAccount"))),
    ]
}

fn subjects(binding: &Value, kind: &str) -> String {
    let names: Vec<String> = list(binding, "subjects")
        .iter()
        .filter(|one| one["kind"] == kind)
        .map(|one| match kind {
            "ServiceAccount" => format!("{}/{}", at(one, "namespace"), at(one, "name")),
            _ => at(one, "name").to_owned(),
        })
        .collect();
    names.join(", ")
}

fn signing_request() -> Vec<Column> {
    vec![
        name(),
        age(),
        text("SignerName", |o, _| json!(or(at(o, "spec.signerName"), NONE))),
        text("Requestor", |o, _| json!(at(o, "spec.username"))),
        text("RequestedDuration", |o, _| match number(o, "spec.expirationSeconds") {
            0 => json!(NONE),
            seconds => json!(time::human_duration(seconds)),
        }),
        text("Condition", |o, _| json!(request_condition(o))),
    ]
}

fn request_condition(request: &Value) -> String {
    let has = |kind: &str| list(request, "status.conditions").iter().any(|one| one["type"] == kind);
    let mut states: Vec<&str> = Vec::new();
    states.push(match (has("Approved"), has("Denied")) {
        (_, true) => "Denied",
        (true, false) => "Approved",
        (false, false) => "Pending",
    });
    if has("Failed") {
        states.push("Failed");
    }
    if !at(request, "status.certificate").is_empty() {
        states.push("Issued");
    }
    states.join(",")
}

fn api_service(service: &Value) -> String {
    match service["spec"].get("service") {
        Some(target) => format!("{}/{}", at(target, "namespace"), at(target, "name")),
        None => "Local".to_owned(),
    }
}

fn available(service: &Value) -> String {
    let condition =
        list(service, "status.conditions").iter().find(|one| one["type"] == "Available");
    match condition {
        None => "Unknown".to_owned(),
        Some(one) if at(one, "status") == "True" => "True".to_owned(),
        Some(one) => format!("{} ({})", at(one, "status"), at(one, "reason")),
    }
}

fn param_kind(policy: &Value) -> String {
    match policy["spec"].get("paramKind") {
        Some(kind) => format!("{}/{}", at(kind, "apiVersion"), at(kind, "kind")),
        None => "<unset>".to_owned(),
    }
}

fn param_ref(binding: &Value) -> String {
    let Some(reference) = binding["spec"].get("paramRef") else { return "<unset>".to_owned() };
    match (at(reference, "namespace"), at(reference, "name")) {
        ("", name) => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

fn flow_schema() -> Vec<Column> {
    vec![
        name(),
        text("PriorityLevel", |o, _| json!(at(o, "spec.priorityLevelConfiguration.name"))),
        integer("MatchingPrecedence", |o, _| json!(number(o, "spec.matchingPrecedence"))),
        text("DistinguisherMethod", |o, _| json!(or(at(o, "spec.distinguisherMethod.type"), NONE))),
        age(),
        text("MissingPL", |o, _| {
            let dangling =
                list(o, "status.conditions").iter().find(|one| one["type"] == "Dangling");
            json!(dangling.map_or("?", |one| at(one, "status")))
        }),
    ]
}

fn priority_level() -> Vec<Column> {
    vec![
        name(),
        text("Type", |o, _| json!(at(o, "spec.type"))),
        text("NominalConcurrencyShares", |o, _| {
            let spec = &o["spec"];
            let of = |part: &str| any_text(&spec[part]["nominalConcurrencyShares"]);
            json!(or(&of("limited"), or(&of("exempt"), NONE)))
        }),
        text("Queues", |o, _| json!(queuing(o, "queues"))),
        text("HandSize", |o, _| json!(queuing(o, "handSize"))),
        text("QueueLengthLimit", |o, _| json!(queuing(o, "queueLengthLimit"))),
        age(),
    ]
}

fn queuing(level: &Value, field: &str) -> String {
    joined(level.pointer("/spec/limited/limitResponse/queuing").map(|one| any_text(&one[field])))
}
