//! Bindings of policies.

use api::rules::{names, problems::Problems};
use serde_json::Value;

use super::{items, resources, text};

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

pub fn validate(object: &Value, problems: &mut Problems) {
    let spec = &object["spec"];
    let policy = text(spec, "policyName");
    if policy.is_empty() {
        problems.required("spec.policyName", "");
    } else {
        problems.check_text("spec.policyName", policy, names::dns1123_subdomain(policy));
    }
    check_param_ref(&spec["paramRef"], problems);
    resources::validate(&spec["matchResources"], "spec.matchResources", false, problems);
    if object["kind"] == "ValidatingAdmissionPolicyBinding" {
        check_actions(spec, problems);
    }
}

fn check_param_ref(reference: &Value, problems: &mut Problems) {
    if !reference.is_object() {
        return;
    }
    let name = text(reference, "name");
    let selector = reference["selector"].is_object();
    match (name.is_empty(), selector) {
        (true, false) => {
            problems.required("spec.paramRef", "one of name or selector must be specified")
        }
        (false, true) => {
            let detail = "name and selector are mutually exclusive";
            problems.forbidden("spec.paramRef.name", detail);
        }
        _ => {}
    }
    let action = &reference["parameterNotFoundAction"];
    if action.is_null() {
        problems.required("spec.paramRef.parameterNotFoundAction", "");
    } else {
        let at = "spec.paramRef.parameterNotFoundAction";
        problems.check_choice(at, action, &["Allow", "Deny"]);
    }
}

fn check_actions(spec: &Value, problems: &mut Problems) {
    let path = "spec.validationActions";
    let actions: Vec<&str> =
        items(spec, "validationActions").filter_map(|(_, one)| one.as_str()).collect();
    if actions.is_empty() {
        problems.required(path, "at least one validation action is required");
    }
    for (index, action) in actions.iter().enumerate() {
        let at = format!("{path}[{index}]");
        if !ACTIONS.contains(action) {
            problems.not_supported(&at, &Value::from(*action), &ACTIONS);
        } else if actions[..index].contains(action) {
            problems.duplicate(&at, &Value::from(*action));
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        problems.invalid(
            path,
            &spec["validationActions"],
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        );
    }
}
