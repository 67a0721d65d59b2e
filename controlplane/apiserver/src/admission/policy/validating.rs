//! ValidatingAdmissionPolicy: every validation of every bound policy must hold. Upstream:
//! `admission/plugin/policy/validating`.

use api::{Reason, Status, meta, status::Cause};
use expressions::{Budget, Variables};
use serde_json::{Value, json};

use super::{
    bound::{self, Bound, Sort, ignores_failures},
    compiled::{Compiled, Validation},
};
use crate::admission::request::Request;

const SORT: Sort =
    Sort { policies: "validatingadmissionpolicies", bindings: "validatingadmissionpolicybindings" };
/// The longest message that an expression may make, in bytes.
const MESSAGE_BYTES_MAX: usize = 5 << 10;
/// Longest value of an audit annotation, in bytes.
const ANNOTATION_BYTES_MAX: usize = 10 << 10;
const AUDIT_KEY: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Something that a policy says no to.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    policy: String,
    binding: String,
    /// Which validation.
    index: usize,
    message: String,
    /// "" means Invalid.
    reason: String,
}

/// What bindings make of failures.
#[derive(Default)]
struct Outcome {
    denied: Vec<Failure>,
    audited: Vec<Value>,
}

pub async fn validate(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    if bound::is_exempt(request) {
        return Ok(());
    }
    let mut outcome = Outcome::default();
    for found in bound::all(request, &SORT, object, old)? {
        match found {
            Ok(mut bound) => {
                bound.matched.look(request, object, old).await?;
                let failures = judge(request, &bound);
                act(request, &bound.binding, failures, &mut outcome);
            }
            Err(wrong) if ignores_failures(&wrong.policy) => {}
            Err(wrong) => outcome.denied.push(Failure {
                policy: meta::name(&wrong.policy).to_owned(),
                binding: meta::name(&wrong.binding).to_owned(),
                index: 0,
                message: format!("failed to configure binding: {}", wrong.why),
                reason: String::new(),
            }),
        }
    }
    if !outcome.audited.is_empty() {
        request.annotate(AUDIT_KEY, &Value::Array(outcome.audited).to_string());
    }
    match outcome.denied.first() {
        None => Ok(()),
        Some(failure) => Err(denial(request, object, failure)),
    }
}

/// What one bound policy finds wrong.
fn judge(request: &Request<'_>, bound: &Bound) -> Vec<Failure> {
    let compiled = request.call.app.admission.policies.get(&bound.policy);
    let variables = bound::variables(request, bound, &compiled);
    let mut budget = Budget::default();
    let failure = |index: usize, message: String, reason: &str| Failure {
        policy: meta::name(&bound.policy).to_owned(),
        binding: meta::name(&bound.binding).to_owned(),
        index,
        message,
        reason: reason.to_owned(),
    };
    let open = ignores_failures(&bound.policy);
    match bound::conditions_hold(&compiled, &variables, &mut budget) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(_) if open => return Vec::new(),
        Err(why) => return vec![failure(0, why, "")],
    }
    let mut failures = Vec::new();
    for (index, validation) in compiled.validations.iter().enumerate() {
        match check(validation, &variables, &mut budget) {
            Ok(None) => {}
            Ok(Some(message)) => failures.push(failure(index, message, &validation.reason)),
            Err(_) if open => {}
            Err(why) => failures.push(failure(index, why, "")),
        }
    }
    annotate(request, bound, &compiled, &variables, &mut budget);
    failures
}

/// `Some(message)` when the validation says no; an error when it says nothing.
fn check(
    validation: &Validation,
    variables: &Variables,
    budget: &mut Budget,
) -> Result<Option<String>, String> {
    let source = &validation.source;
    let failed = |error: &str| format!("expression '{source}' resulted in error: {error}");
    let program = validation.program.as_ref().map_err(|error| failed(error))?;
    let value = program.evaluate(variables, budget).map_err(|error| failed(&error.to_string()))?;
    if value.is_true() {
        return Ok(None);
    }
    if let Some(Ok(program)) = &validation.message_program
        && let Ok(value) = program.evaluate(variables, budget)
        && let Some(text) = value.as_text().map(str::trim)
        && !text.is_empty()
        && text.len() <= MESSAGE_BYTES_MAX
        && !text.contains('\n')
    {
        return Ok(Some(text.to_owned()));
    }
    let message = validation.message.trim();
    if message.is_empty() {
        return Ok(Some(format!("failed expression: {source}")));
    }
    Ok(Some(message.to_owned()))
}

fn annotate(
    request: &Request<'_>,
    bound: &Bound,
    compiled: &Compiled,
    variables: &Variables,
    budget: &mut Budget,
) {
    for annotation in &compiled.annotations {
        let Ok(program) = &annotation.program else { continue };
        let Ok(value) = program.evaluate(variables, budget) else { continue };
        if let Some(text) = value.as_text().map(str::trim).filter(|text| !text.is_empty()) {
            let mut end = text.len().min(ANNOTATION_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let key = format!("{}/{}", meta::name(&bound.policy), annotation.key);
            request.annotate(&key, &text[..end]);
        }
    }
}

/// Does with failures what the binding says: deny, warn, audit.
fn act(request: &Request<'_>, binding: &Value, failures: Vec<Failure>, outcome: &mut Outcome) {
    let actions = binding["spec"]["validationActions"].as_array().cloned().unwrap_or_default();
    let does = |action: &str| actions.iter().any(|one| one == action);
    for failure in failures {
        if does("Warn") {
            request.warn(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                failure.policy, failure.binding, failure.message
            ));
        }
        if does("Audit") {
            outcome.audited.push(json!({
                "message": failure.message, "policy": failure.policy, "binding": failure.binding,
                "expressionIndex": failure.index, "validationActions": actions,
            }));
        }
        if does("Deny") {
            outcome.denied.push(failure);
        }
    }
}

fn denial(request: &Request<'_>, object: &Value, failure: &Failure) -> Status {
    let message = format!(
        "ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}",
        failure.policy, failure.binding, failure.message
    );
    let mut status = request.refuse(object, &message);
    status.reason = match failure.reason.as_str() {
        "Unauthorized" => Reason::Unauthorized,
        "Forbidden" => Reason::Forbidden,
        "RequestEntityTooLarge" => Reason::RequestEntityTooLarge,
        _ => Reason::Invalid,
    };
    status.causes.push(Cause {
        reason: String::new(),
        message: failure.message.clone(),
        field: String::new(),
    });
    status
}
