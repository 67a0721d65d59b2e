//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy.

use std::collections::BTreeSet;

use api::rules::{names, problems::Problems};
use expressions::Type;
use serde_json::Value;

use super::{conditions, items, resources, text};
use crate::admission::policy::check_expressions;

const VARIABLES_MAX: usize = 64;
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

pub fn validate(object: &Value, old: &Value, problems: &mut Problems) {
    let spec = &object["spec"];
    if spec.is_null() {
        problems.required("spec", "");
        return;
    }
    let mutating = object["kind"] == "MutatingAdmissionPolicy";
    resources::check_failure_policy(spec, "spec.failurePolicy", problems);
    check_param_kind(&spec["paramKind"], problems);
    resources::validate(&spec["matchConstraints"], "spec.matchConstraints", true, problems);
    conditions::validate(spec, &Value::Null, "spec.", false, problems);
    check_variables(spec, problems);
    if mutating {
        check_mutations(spec, problems);
        resources::check_reinvocation(spec, "spec.reinvocationPolicy", problems);
    } else {
        check_validations(spec, problems);
        check_annotations(spec, problems);
    }
    // What was accepted once stays, also where the rules became stricter.
    if old["spec"] != *spec {
        for complaint in check_expressions(object, Type::Dyn) {
            problems.invalid_text(&complaint.field, &complaint.source, &complaint.detail);
        }
    }
}

fn check_param_kind(kind: &Value, problems: &mut Problems) {
    if !kind.is_object() {
        return;
    }
    for field in ["apiVersion", "kind"] {
        if text(kind, field).is_empty() {
            problems.required(&format!("spec.paramKind.{field}"), "");
        }
    }
    let version = text(kind, "apiVersion");
    if version.matches('/').count() > 1 {
        let detail = "must be in the form group/version";
        problems.invalid_text("spec.paramKind.apiVersion", version, detail);
    }
}

fn check_variables(spec: &Value, problems: &mut Problems) {
    if spec["variables"].as_array().is_some_and(|list| list.len() > VARIABLES_MAX) {
        let detail = format!("must have at most {VARIABLES_MAX} items");
        problems.invalid("spec.variables", &spec["variables"], &detail);
    }
    let mut seen = BTreeSet::new();
    for (index, variable) in items(spec, "variables") {
        let path = format!("spec.variables[{index}]");
        let name = text(variable, "name");
        let at = format!("{path}.name");
        if name.trim().is_empty() {
            problems.required(&at, "name is not specified");
        } else if !is_identifier(name) {
            problems.invalid_text(&at, name, "name is not a valid CEL identifier");
        } else if !seen.insert(name) {
            problems.duplicate(&at, &variable["name"]);
        }
        require_expression(variable, "expression", &path, problems);
    }
}

fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let reserved = ["true", "false", "null", "in"];
    first && characters.all(|c| c.is_ascii_alphanumeric() || c == '_') && !reserved.contains(&name)
}

fn require_expression(owner: &Value, field: &str, path: &str, problems: &mut Problems) {
    if text(owner, field).trim().is_empty() {
        problems.required(&format!("{path}.{field}"), "expression is not specified");
    }
}

fn check_validations(spec: &Value, problems: &mut Problems) {
    let is_empty = |field: &str| spec[field].as_array().is_none_or(Vec::is_empty);
    if is_empty("validations") && is_empty("auditAnnotations") {
        problems.required(
            "spec.validations",
            "validations or auditAnnotations must be non-empty in a ValidatingAdmissionPolicy",
        );
    }
    for (index, validation) in items(spec, "validations") {
        let path = format!("spec.validations[{index}]");
        require_expression(validation, "expression", &path, problems);
        if let Some(message) = validation["message"].as_str() {
            let at = format!("{path}.message");
            if message.contains('\n') {
                problems.invalid_text(&at, message, "message must not contain line breaks");
            } else if message.trim().is_empty() && !message.is_empty() {
                problems.invalid_text(&at, message, "message must be non-empty if specified");
            }
        } else if text(validation, "expression").contains('\n') {
            let at = format!("{path}.message");
            problems.required(&at, "message must be specified if expression contains line breaks");
        }
        let reason = &validation["reason"];
        if !text(validation, "reason").is_empty() {
            problems.check_choice(&format!("{path}.reason"), reason, &REASONS);
        }
    }
}

fn check_annotations(spec: &Value, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, annotation) in items(spec, "auditAnnotations") {
        let path = format!("spec.auditAnnotations[{index}]");
        let key = text(annotation, "key");
        let at = format!("{path}.key");
        if key.is_empty() {
            problems.required(&at, "");
        } else {
            problems.check_text(&at, key, names::label_key(key));
            if !seen.insert(key) {
                problems.duplicate(&at, &annotation["key"]);
            }
        }
        if text(annotation, "valueExpression").trim().is_empty() {
            let at = format!("{path}.valueExpression");
            problems.required(&at, "valueExpression is not specified");
        }
    }
}

fn check_mutations(spec: &Value, problems: &mut Problems) {
    if spec["mutations"].as_array().is_none_or(Vec::is_empty) {
        problems.required("spec.mutations", "mutations must contain at least one item");
    }
    if text(spec, "reinvocationPolicy").is_empty() {
        problems.required("spec.reinvocationPolicy", "");
    }
    for (index, mutation) in items(spec, "mutations") {
        let path = format!("spec.mutations[{index}]");
        let (wanted, other) = match text(mutation, "patchType") {
            "JSONPatch" => ("jsonPatch", "applyConfiguration"),
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
            "" => {
                problems.required(&format!("{path}.patchType"), "");
                continue;
            }
            _ => {
                let kinds = ["ApplyConfiguration", "JSONPatch"];
                let at = format!("{path}.patchType");
                problems.not_supported(&at, &mutation["patchType"], &kinds);
                continue;
            }
        };
        if mutation[wanted].is_null() {
            let kind = text(mutation, "patchType");
            let detail = format!("must be specified when patchType is {kind}");
            problems.required(&format!("{path}.{wanted}"), &detail);
        } else {
            require_expression(
                &mutation[wanted],
                "expression",
                &format!("{path}.{wanted}"),
                problems,
            );
        }
        if !mutation[other].is_null() {
            let kind = text(mutation, "patchType");
            let detail = format!("must not be specified when patchType is {kind}");
            problems.forbidden(&format!("{path}.{other}"), &detail);
        }
    }
}
