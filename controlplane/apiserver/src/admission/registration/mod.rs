//! Validation of what configures admission: webhook configurations, policies, bindings. It is here and not among the
//! kinds' own rules because expressions must compile. Upstream: `pkg/apis/admissionregistration/validation`.

mod bindings;
mod conditions;
mod policies;
mod resources;
mod webhooks;

use std::sync::Arc;

use api::{Kind, Status, meta, rules::problems::Problems};
use serde_json::{Value, json};

use super::{policy, request::Request};

const GROUP: &str = "admissionregistration.k8s.io";

/// Refuses a configuration that is wrong.
pub fn validate(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    let kind = request.kind();
    let writes = request.is_create() || request.is_update();
    if kind.group != GROUP || !writes || !request.subresource().is_empty() {
        return Ok(());
    }
    let mut problems = Problems::default();
    match kind.plural.as_str() {
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            webhooks::validate(object, old, &mut problems);
        }
        "validatingadmissionpolicies" | "mutatingadmissionpolicies" => {
            policies::validate(object, old, &mut problems);
        }
        _ => bindings::validate(object, &mut problems),
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(api::rules::invalid(kind, meta::name(object), problems.into_causes()))
}

/// Writes `status` of a ValidatingAdmissionPolicy whose spec is new: what its expressions' types are wrong about.
pub fn fill_status(kind: &Kind, policy: &mut Value) {
    if kind.group != GROUP || kind.plural != "validatingadmissionpolicies" {
        return;
    }
    let generation = policy["metadata"]["generation"].clone();
    if policy["status"]["observedGeneration"] == generation {
        return;
    }
    let kinds: Vec<Arc<Kind>> = api::kinds().into_iter().map(Arc::new).collect();
    let warnings = policy::type_warnings(policy, &kinds);
    let checking =
        if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
    policy["status"]["typeChecking"] = checking;
    policy["status"]["observedGeneration"] = generation;
}

/// The text of a field, or "".
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The items of a list.
fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    value[field].as_array().into_iter().flatten().enumerate()
}

#[cfg(test)]
mod tests;
