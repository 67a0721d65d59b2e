//! MutatingAdmissionPolicy: patches made by expressions. Upstream: `admission/plugin/policy/mutating`.

use api::{Status, meta, patch};
use expressions::Budget;
use serde_json::Value;

use super::{
    apply_configuration,
    bound::{self, Bound, Sort, ignores_failures},
    compiled::{Compiled, Mutation},
};
use crate::admission::{
    matching::equivalent::from_matched,
    reinvocation::Session,
    request::{Operation, Request},
    settle::settle,
};

const SORT: Sort =
    Sort { policies: "mutatingadmissionpolicies", bindings: "mutatingadmissionpolicybindings" };

pub async fn admit(
    request: &Request<'_>,
    object: &mut Value,
    old: &Value,
    session: &mut Session,
) -> Result<(), Status> {
    let changes = matches!(request.operation, Operation::Create | Operation::Update);
    if !changes || bound::is_exempt(request) {
        return Ok(());
    }
    for found in bound::all(request, &SORT, object, old)? {
        match found {
            Ok(bound) => admit_one(request, bound, object, old, session).await?,
            Err(wrong) if ignores_failures(&wrong.policy) => {}
            Err(wrong) => {
                let why = format!("failed to configure binding: {}", wrong.why);
                return Err(denial(request, object, (&wrong.policy, &wrong.binding), &why));
            }
        }
    }
    Ok(())
}

async fn admit_one(
    request: &Request<'_>,
    mut bound: Bound,
    object: &mut Value,
    old: &Value,
    session: &mut Session,
) -> Result<(), Status> {
    let params = bound.params.as_ref().map_or("", meta::name);
    let (policy, binding) = (meta::name(&bound.policy), meta::name(&bound.binding));
    let id = format!("policy/{policy}/{binding}/{params}");
    if !session.is_due(&id) {
        return Ok(());
    }
    bound.matched.look(request, object, old).await?;
    let compiled = request.call.app.admission.policies.get(&bound.policy);
    let mut budget = Budget::default();
    let holds = {
        let variables = bound::variables(request, &bound, &compiled);
        bound::conditions_hold(&compiled, &variables, &mut budget)
    };
    let mutated = match holds {
        Ok(false) => return Ok(()),
        Ok(true) => mutate_all(request, &mut bound, &compiled, (&*object, old), &mut budget).await,
        Err(why) => Err(why),
    };
    match mutated {
        Ok(new) => {
            let changed = new != *object;
            *object = new;
            let reinvoked = bound.policy["spec"]["reinvocationPolicy"] == "IfNeeded";
            session.invoked(id, changed, reinvoked);
            Ok(())
        }
        Err(_) if ignores_failures(&bound.policy) => Ok(()),
        Err(why) => Err(denial(request, object, (&bound.policy, &bound.binding), &why)),
    }
}

/// The object after all mutations of a policy; each sees what the one before it made.
async fn mutate_all(
    request: &Request<'_>,
    bound: &mut Bound,
    compiled: &Compiled,
    (object, old): (&Value, &Value),
    budget: &mut Budget,
) -> Result<Value, String> {
    let mut current = object.clone();
    for mutation in &compiled.mutations {
        let looked = bound.matched.look(request, &current, old).await;
        looked.map_err(|status| status.message)?;
        let before = &bound.matched.object;
        let result = evaluate(request, bound, compiled, mutation, budget)?;
        let patched = if mutation.is_json_patch {
            patch::json_patch(before, &result).map_err(|status| {
                let cause = status.causes.first().map(|cause| cause.message.clone());
                format!("JSON Patch: {}", cause.unwrap_or(status.message))
            })?
        } else {
            apply_configuration::apply(request, &bound.matched, before, &result)?
        };
        let patched = from_matched(request, &bound.matched, patched, &current).await;
        let mut patched = patched.map_err(|status| status.message)?;
        settle(request, &mut patched).map_err(|status| status.message)?;
        current = patched;
    }
    Ok(current)
}

fn evaluate(
    request: &Request<'_>,
    bound: &Bound,
    compiled: &Compiled,
    mutation: &Mutation,
    budget: &mut Budget,
) -> Result<Value, String> {
    let source = &mutation.source;
    let failed = |error: &str| format!("expression '{source}' resulted in error: {error}");
    let program = mutation.program.as_ref().map_err(|error| failed(error))?;
    let variables = bound::variables(request, bound, compiled);
    let value = program.evaluate(&variables, budget).map_err(|error| failed(&error.to_string()))?;
    Ok(value.to_json())
}

fn denial(
    request: &Request<'_>,
    object: &Value,
    (policy, binding): (&Value, &Value),
    why: &str,
) -> Status {
    let message = format!(
        "policy '{}' with binding '{}' denied request: {why}",
        meta::name(policy),
        meta::name(binding)
    );
    let mut status = request.refuse(object, &message);
    status.reason = api::Reason::Invalid;
    status
}
