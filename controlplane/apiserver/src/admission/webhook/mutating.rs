//! MutatingAdmissionWebhook: one after the other, each sees what those before it changed.

use api::{Status, patch};
use serde_json::Value;

use super::{
    call::{self, Failure},
    hook::{self, Hook},
    review::{self, Answer},
};
use crate::{
    admission::{
        matching::equivalent::{Matched, from_matched},
        reinvocation::Session,
        request::{Operation, Request},
        settle::settle,
    },
    errors,
};

const CONFIGURATIONS: &str = "mutatingwebhookconfigurations";

pub async fn admit(
    request: &Request<'_>,
    object: &mut Value,
    old: &Value,
    session: &mut Session,
) -> Result<(), Status> {
    if hook::is_exempt(request) {
        return Ok(());
    }
    for hook in hook::all(request, CONFIGURATIONS) {
        let id = hook.id();
        if !session.is_due(&id) {
            continue;
        }
        let Some(matched) = hook::matched(request, &hook, object, old).await? else { continue };
        let changed = ask(request, &hook, &matched, object).await?;
        session.invoked(id, changed, hook.is_reinvoked());
    }
    Ok(())
}

/// Asks one webhook and applies its patch; whether the object changed.
async fn ask(
    request: &Request<'_>,
    hook: &Hook,
    matched: &Matched,
    object: &mut Value,
) -> Result<bool, Status> {
    let answer = match call::ask(request, hook, matched).await {
        Ok(answer) => answer,
        Err(Failure::Call(status)) if hook.ignores_failures() => {
            tracing::warn!(webhook = hook.name(), %status, "failed calling webhook, failing open");
            return Ok(false);
        }
        Err(Failure::Call(status) | Failure::Refused(status)) => return Err(status),
    };
    if !answer.allowed {
        return Err(review::denial(hook.name(), &answer.result));
    }
    apply(request, hook, matched, object, answer).await
}

async fn apply(
    request: &Request<'_>,
    hook: &Hook,
    matched: &Matched,
    object: &mut Value,
    answer: Answer,
) -> Result<bool, Status> {
    let Some(operations) = answer.patch else { return Ok(false) };
    if operations.as_array().is_some_and(Vec::is_empty) {
        return Ok(false);
    }
    if object.is_null() || request.operation == Operation::Delete {
        return Err(errors::internal(format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name()
        )));
    }
    let patched = patch::json_patch(&matched.object, &operations).map_err(|status| {
        let detail = status.causes.first().map_or(status.message.clone(), |c| c.message.clone());
        errors::internal(detail)
    })?;
    let mut patched = from_matched(request, matched, patched, object).await?;
    settle(request, &mut patched)?;
    let changed = patched != *object;
    *object = patched;
    Ok(changed)
}
