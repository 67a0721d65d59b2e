//! One HTTP request from its first byte to its answer: identity, audit id, log line, metrics.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use access::{User, authn};
use api::Status;
use futures::FutureExt;
use http::{HeaderValue, Method, Request};
use hyper::body::Incoming;
use tracing::Instrument;

use super::{dispatch, paths};
use crate::{
    app::App,
    errors, metrics,
    query::Query,
    respond::{self, Reply},
    route::{self, Route, Target},
};

/// What the log and the metrics say about a request.
struct Seen {
    method: Method,
    path: String,
    target: Target,
    verb: String,
    long: bool,
    dry_run: bool,
    started: Instant,
}

pub async fn handle(
    app: Arc<App>,
    certificate: Option<Arc<[u8]>>,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let seen = look(&request);
    let audit = request
        .headers()
        .get("audit-id")
        .cloned()
        .or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok());
    let span = tracing::debug_span!(
        "request",
        verb = %seen.verb,
        resource = %seen.target.resource,
        namespace = %seen.target.namespace,
        name = %seen.target.name,
    );
    let guard = (!seen.long).then(|| app.metrics.inflight(seen.method != Method::GET));
    // A panic is a bug of ours; it ends this request only.
    let answered = AssertUnwindSafe(answer(app.clone(), certificate, request, &seen))
        .catch_unwind()
        .instrument(span)
        .await
        .unwrap_or_else(|_| Err(errors::internal("the handler of this request panicked")));
    let mut reply = match answered {
        Ok(reply) => reply,
        Err(status) => respond::status(&status),
    };
    drop(guard);
    if let Some(audit) = audit {
        reply.headers_mut().insert("audit-id", audit);
    }
    reply
        .headers_mut()
        .entry(http::header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    finish(&app, &seen, reply.status().as_u16());
    Ok(reply)
}

fn look(request: &Request<Incoming>) -> Seen {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let method = request.method().clone();
    let target = match route::parse(&path) {
        Route::Resource(target) => target,
        Route::Other(_) => Target::default(),
    };
    let verb = if target.resource.is_empty() {
        method.as_str().to_lowercase()
    } else {
        target.verb(&method, query.flag("watch")).to_owned()
    };
    let streams = ["exec", "attach", "portforward", "proxy"].contains(&target.subresource.as_str())
        || (target.subresource == "log" && query.flag("follow"));
    let long = verb == "watch" || streams;
    Seen { method, path, target, verb, long, dry_run: query.has("dryRun"), started: Instant::now() }
}

async fn answer(
    app: Arc<App>,
    certificate: Option<Arc<[u8]>>,
    request: Request<Incoming>,
    seen: &Seen,
) -> Result<Reply, Status> {
    let real = app.authenticator.authenticate(certificate.as_deref(), request.headers()).await?;
    let user = impersonated(&app, real, request.headers())?;
    if seen.target.resource.is_empty() {
        return paths::handle(app, user, request).await;
    }
    dispatch::handle(app, user, request, seen.target.clone()).await
}

fn impersonated(app: &App, real: User, headers: &http::HeaderMap) -> Result<User, Status> {
    let Some(wanted) = authn::impersonation(&real, headers)? else { return Ok(real) };
    for check in &wanted.checks {
        app.authorizer.check(check)?;
    }
    Ok(wanted.user)
}

fn finish(app: &App, seen: &Seen, code: u16) {
    let elapsed = seen.started.elapsed();
    let Seen { target, verb, method, path, .. } = seen;
    let request = metrics::Request {
        verb: verb.to_uppercase(),
        group: target.group.clone(),
        version: target.version.clone(),
        // Unknown resources are counted together, or clients could make labels without end.
        resource: if code == 404 && target.name.is_empty() {
            String::new()
        } else {
            target.resource.clone()
        },
        subresource: target.subresource.clone(),
        scope: metrics::scope(target).into(),
        component: "apiserver".into(),
        dry_run: if seen.dry_run { "All".into() } else { String::new() },
        code,
    };
    app.metrics.observe(request, (!seen.long).then_some(elapsed));
    let revision = app.cache.revision();
    tracing::debug!(%method, %path, code, revision, millis = elapsed.as_secs_f64() * 1e3, "request");
}
