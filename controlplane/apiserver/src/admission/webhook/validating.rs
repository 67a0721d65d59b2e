//! ValidatingAdmissionWebhook: all are asked at once, any may refuse.

use api::Status;
use futures::future::join_all;
use serde_json::Value;

use super::{
    call::{self, Failure},
    hook::{self, Hook},
    review,
};
use crate::admission::{matching::equivalent::Matched, request::Request};

const CONFIGURATIONS: &str = "validatingwebhookconfigurations";

pub async fn validate(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    if hook::is_exempt(request) {
        return Ok(());
    }
    let mut asked = Vec::new();
    for hook in hook::all(request, CONFIGURATIONS) {
        if let Some(matched) = hook::matched(request, &hook, object, old).await? {
            asked.push((hook, matched));
        }
    }
    let answers = asked.iter().map(|(hook, matched)| ask(request, hook, matched));
    // The first refusal in the order of configurations, so that the answer does not depend on who is fast.
    join_all(answers).await.into_iter().collect()
}

async fn ask(request: &Request<'_>, hook: &Hook, matched: &Matched) -> Result<(), Status> {
    match call::ask(request, hook, matched).await {
        Ok(answer) if answer.allowed => Ok(()),
        Ok(answer) => Err(review::denial(hook.name(), &answer.result)),
        Err(Failure::Call(status)) if hook.ignores_failures() => {
            tracing::warn!(webhook = hook.name(), %status, "failed calling webhook, failing open");
            Ok(())
        }
        Err(Failure::Call(status) | Failure::Refused(status)) => Err(status),
    }
}
