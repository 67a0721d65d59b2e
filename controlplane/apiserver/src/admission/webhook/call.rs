//! Asking one webhook.

use std::time::Duration;

use api::Status;
use bytes::Bytes;
use serde_json::Value;

use super::{
    hook::Hook,
    review::{self, Answer},
};
use crate::{
    admission::{matching::equivalent::Matched, request::Request},
    errors,
    reach::{self, WebhookConfig},
};

/// How long a webhook may take that says nothing about it.
const TIMEOUT_SECONDS: u64 = 10;
/// The longest that one may ask for.
const TIMEOUT_SECONDS_MAX: u64 = 30;

/// How asking went wrong.
pub enum Failure {
    /// There was no usable answer: `failurePolicy` decides.
    Call(Status),
    /// The request cannot be sent there at all.
    Refused(Status),
}

/// Asks a webhook about a request.
pub async fn ask(request: &Request<'_>, hook: &Hook, matched: &Matched) -> Result<Answer, Failure> {
    if request.dry_run && !hook.has_no_side_effects() {
        let message = format!("admission webhook {:?} does not support dry run", hook.name());
        return Err(Failure::Refused(errors::bad_request(message)));
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let question = review::question(request, matched, &uid);
    let body = post(request, hook, &question).await.map_err(|why| failed(hook, &why))?;
    let answer = review::answer(&body, &uid)
        .map_err(|why| failed(hook, &format!("received invalid webhook response: {why}")))?;
    for warning in &answer.warnings {
        request.warn(warning.as_str());
    }
    for (key, value) in &answer.annotations {
        request.annotate(&format!("{}/{key}", hook.name()), value);
    }
    Ok(answer)
}

fn failed(hook: &Hook, why: &str) -> Failure {
    Failure::Call(errors::internal(format!("failed calling webhook {:?}: {why}", hook.name())))
}

async fn post(request: &Request<'_>, hook: &Hook, question: &Value) -> Result<Bytes, String> {
    let config = WebhookConfig::parse(&hook.webhook["clientConfig"])
        .map_err(|error| format!("failed to call webhook: {error}"))?;
    let seconds = hook.webhook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_SECONDS);
    let seconds = seconds.clamp(1, TIMEOUT_SECONDS_MAX);
    let query = format!("timeout={seconds}s");
    let body = Bytes::from(question.to_string());
    let timeout = Duration::from_secs(seconds);
    let app = &request.call.app;
    let posted = reach::post_webhook(app, &config, &query, body, timeout).await;
    posted.map_err(|error| {
        let url = format!("{}?{query}", config.url());
        format!("failed to call webhook: Post {url:?}: {error}")
    })
}
