//! Resource requests: authorization, the kind's row, negotiation, then the verb.

use std::{sync::Arc, time::Duration};

use access::{User, authz::Attributes};
use api::{Kind, Reason, Status};
use http::{HeaderValue, Method, Request, header};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::{
    accept::{self, Form, Offer, Output},
    app::App,
    audit,
    call::{self, Call},
    errors,
    keys::Collection,
    metrics_api,
    query::Query,
    respond::{self, Reply},
    reviews,
    route::Target,
    subresources, verbs,
};

/// How long a request that is no watch or stream may take, as upstream.
const REQUEST_MAX: Duration = Duration::from_secs(60);

pub async fn handle(
    app: Arc<App>,
    user: User,
    mut request: Request<Incoming>,
    target: Target,
) -> Result<Reply, Status> {
    let upgrade =
        request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let target = decoded(target);
    let verb = target.verb(&parts.method, query.flag("watch"));
    let attributes = call::attributes(&user, verb, &target, &query);
    authorize(&app, &attributes)?;
    let kind = find(&app, &target)?;
    let output = negotiate(&kind, &target, verb, &parts.headers)?;
    check_table_options(output, &query)?;
    let warnings = kind.deprecation.clone().into_iter().collect();
    let call = Call {
        collection: Collection::of(&kind.group, &kind.plural),
        output,
        app,
        kind,
        target,
        verb,
        method: parts.method,
        uri: parts.uri,
        query,
        headers: parts.headers,
        user,
        warnings: Arc::new(Mutex::new(warnings)),
        body: Some(body),
        upgrade,
    };
    let (warnings, encoding) = (call.warnings.clone(), call.output.encoding);
    let mut reply = match run(call).await {
        // A refusal carries its warnings too.
        Err(status) if !warnings.lock().is_empty() => respond::status(&status, encoding),
        answer => answer?,
    };
    for text in warnings.lock().drain(..) {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", quoted(&text))) {
            reply.headers_mut().append(header::WARNING, value);
        }
    }
    Ok(reply)
}

/// The authorizer's decision, noted in the audit.
fn authorize(app: &App, attributes: &Attributes) -> Result<(), Status> {
    use access::authz::Decision;
    let decision = app.authorizer.authorize(attributes);
    let word = if decision.is_allowed() { "allow" } else { "forbid" };
    audit::annotate("authorization.k8s.io/decision", word);
    audit::annotate("authorization.k8s.io/reason", decision.reason());
    match decision {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            Err(access::authz::forbidden(attributes, &reason))
        }
    }
}

/// A quoted-string of RFC 9110; what cannot be in a header is left out.
fn quoted(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control() && c.is_ascii()).collect();
    format!("\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""))
}

fn decoded(mut target: Target) -> Target {
    for part in [&mut target.namespace, &mut target.name] {
        if part.contains('%') {
            *part = percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
        }
    }
    target
}

fn find(app: &App, target: &Target) -> Result<Arc<Kind>, Status> {
    let registry = app.registry.load();
    let kind = registry
        .find(&target.group, &target.version, &target.resource)
        .ok_or_else(errors::unknown_path)?;
    let known = target.subresource.is_empty()
        || kind.subresources.iter().any(|sub| sub.name == target.subresource);
    if known { Ok(kind.clone()) } else { Err(errors::unknown_path()) }
}

fn negotiate(
    kind: &Kind,
    target: &Target,
    verb: &str,
    headers: &http::HeaderMap,
) -> Result<Output, Status> {
    // These pass the agent's or the backend's answer through.
    if ["log", "exec", "attach", "portforward", "proxy"].contains(&target.subresource.as_str()) {
        return Ok(Output::JSON);
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.unwrap_or_default().replace(";stream=watch", "");
    // Custom resources have no protobuf form, but their scale has.
    let protobuf = !kind.schema.is_empty() || target.subresource == "scale";
    let metadata = !reviews::is_review(kind);
    let offer = Offer { protobuf, stream: verb == "watch", metadata };
    accept::negotiate(&accept, offer)
}

fn check_table_options(output: Output, query: &Query) -> Result<(), Status> {
    let given = query.get("includeObject");
    let known = matches!(given, "" | "None" | "Metadata" | "Object");
    if known || !matches!(output.form, Form::Table(_)) {
        return Ok(());
    }
    Err(errors::bad_request(format!(
        "Unable to convert to Table as requested: includeObject: Invalid value: {given:?}: must be 'Metadata', 'Object', 'None', or empty"
    )))
}

async fn run(call: Call) -> Result<Reply, Status> {
    let streams = ["exec", "attach", "portforward", "proxy", "log"];
    if call.verb == "watch" || streams.contains(&call.target.subresource.as_str()) {
        return route(call).await;
    }
    let limit = timeout_of(call.query.get("timeout"))?;
    match tokio::time::timeout(limit, route(call)).await {
        Ok(result) => result,
        Err(_) => Err(Status::new(
            Reason::Timeout,
            "Timeout: request did not complete within the allotted timeout",
        )),
    }
}

/// `?timeout=30s`, at most [`REQUEST_MAX`].
fn timeout_of(text: &str) -> Result<Duration, Status> {
    if text.is_empty() {
        return Ok(REQUEST_MAX);
    }
    let bad = || {
        errors::bad_request(format!(
            "invalid timeout specified in the request URL - time: invalid duration {text:?}"
        ))
    };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
    let number: f64 = text[..split].parse().map_err(|_| bad())?;
    let seconds = match &text[split..] {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        // Durations of several units are longer than a request may take anyway, or rare.
        "m0s" => number * 60.0,
        _ => return Err(bad()),
    };
    let asked = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
    Ok(if asked.is_zero() { REQUEST_MAX } else { asked.min(REQUEST_MAX) })
}

async fn route(call: Call) -> Result<Reply, Status> {
    if call.kind.group == metrics_api::GROUP && call.kind.schema.is_empty() {
        return metrics_api::answer(&call).await;
    }
    if !call.target.subresource.is_empty() {
        return subresources::handle(call).await;
    }
    if !call.kind.verbs.iter().any(|verb| verb == call.verb) {
        return Err(errors::method_not_allowed());
    }
    if call.method == Method::POST {
        if reviews::is_review(&call.kind) {
            return reviews::answer(call).await;
        }
        if call.kind.plural == "bindings" {
            return subresources::binding::bind(call).await;
        }
    }
    match call.verb {
        "create" if call.target.name.is_empty() => verbs::create::create(call).await,
        "get" => verbs::get::get(&call).await,
        "list" => verbs::list::list(&call).await,
        "watch" => verbs::watch::watch(call).await,
        "update" if !call.target.name.is_empty() => verbs::update::update(call).await,
        "patch" if !call.target.name.is_empty() => verbs::patch::patch(call).await,
        "delete" => verbs::delete::delete(call).await,
        "deletecollection" => verbs::delete_collection::delete_collection(call).await,
        _ => Err(errors::method_not_allowed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted() {
        assert_eq!(quoted("unknown field \"spec.foo\""), "\"unknown field \\\"spec.foo\\\"\"");
        assert_eq!(quoted("a\nb"), "\"ab\"");
    }

    #[test]
    fn timeouts_are_gos_durations_up_to_a_minute() {
        for (text, expect) in [
            ("", Ok(60_000)),
            ("5s", Ok(5_000)),
            ("1.5s", Ok(1_500)),
            ("250ms", Ok(250)),
            ("10m0s", Ok(60_000)),
            ("0s", Ok(60_000)),
            ("5", Err(())),
            ("soon", Err(())),
        ] {
            let got = timeout_of(text).map(|limit| limit.as_millis()).map_err(drop);
            assert_eq!(got, expect, "{text}");
        }
    }
}
