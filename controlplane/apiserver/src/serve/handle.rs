//! One HTTP request from its first byte to its answer: identity, audit, flow control, log line, metrics.

use std::{
    convert::Infallible,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use access::{User, authn};
use api::{Reason, Status};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tracing::Instrument;

use super::{dispatch, paths};
use crate::{
    accept::{self, Encoding},
    aggregation,
    app::App,
    asked::Asked,
    audit::{self, Record, Stage},
    clock, errors, flow,
    keys::Collection,
    metrics,
    query::Query,
    respond::{self, Reply},
    route::{self, Route, Target},
    trace::Trace,
};

/// Requests that take longer are logged, as upstream.
const SLOW: Duration = Duration::from_millis(500);

/// The other end of a connection.
pub struct Peer {
    pub certificate: Option<Arc<[u8]>>,
    pub address: IpAddr,
}

/// What the log, the metrics, the audit and flow control know of a request.
struct Seen {
    method: Method,
    path: String,
    uri: String,
    query: Query,
    target: Target,
    verb: String,
    /// A watch or a stream.
    long: bool,
    started: Instant,
    audit_id: String,
    trace: Trace,
    source: String,
    /// How errors are written.
    encoding: Encoding,
}

impl Seen {
    fn asked<'a>(&'a self, user: &'a User) -> Asked<'a> {
        let Target { group, resource, subresource, namespace, name, .. } = &self.target;
        let (verb, path) = (&self.verb, &self.path);
        Asked { user, verb, group, resource, subresource, namespace, name, path }
    }
}

pub async fn handle(
    app: Arc<App>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let seen = look(&request, peer.address);
    let span = tracing::debug_span!(
        "request",
        verb = %seen.verb,
        resource = %seen.target.resource,
        namespace = %seen.target.namespace,
        name = %seen.target.name,
        audit_id = %seen.audit_id,
        trace_id = format_args!("{:032x}", seen.trace.id),
    );
    let work = answer(&app, peer.certificate, request, &seen).instrument(span);
    let answered = seen.trace.scope(work).await;
    let mut reply = answered.unwrap_or_else(|status| respond::status(&status, seen.encoding));
    if let Ok(id) = HeaderValue::from_str(&seen.audit_id) {
        reply.headers_mut().insert("audit-id", id);
    }
    reply
        .headers_mut()
        .entry(http::header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    finish(&app, &seen, reply.status().as_u16());
    Ok(reply)
}

fn look(request: &Request<Incoming>, address: IpAddr) -> Seen {
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
    let sent = request.headers().get("audit-id").and_then(|value| value.to_str().ok());
    let accept = request.headers().get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
    Seen {
        encoding: accept::encoding(accept.unwrap_or_default()),
        audit_id: sent.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned),
        trace: Trace::of(request.headers()),
        uri: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        source: address.to_canonical().to_string(),
        started: Instant::now(),
        method,
        path,
        query,
        target,
        verb,
        long,
    }
}

/// Authentication, then everything else inside the request's audit record.
async fn answer(
    app: &Arc<App>,
    certificate: Option<Arc<[u8]>>,
    request: Request<Incoming>,
    seen: &Seen,
) -> Result<Reply, Status> {
    let authenticated =
        app.authenticator.authenticate(certificate.as_deref(), request.headers()).await;
    let user = authenticated.inspect_err(|_| app.metrics.authentication("failure"))?;
    if user.name == access::names::ANONYMOUS && !app.config.anonymous.allows(&seen.path) {
        return Err(Status::new(Reason::Unauthorized, "Unauthorized"));
    }
    app.metrics.authentication("success");
    let record = begin_audit(app, &user, request.headers(), seen);
    if let Some(record) = &record {
        app.audit.send(record, Stage::RequestReceived).await;
    }
    let work = AssertUnwindSafe(admit(app, user, request, seen, record.as_deref())).catch_unwind();
    // A panic is a bug of ours; it ends this request only.
    match audit::scope(Some(seen.source.clone()), record.clone(), work).await {
        Ok(reply) => Ok(finish_audit(app, record, reply, seen.long).await),
        Err(_) => {
            if let Some(record) = record {
                record.respond(500, None);
                app.audit.send(&record, Stage::Panic).await;
            }
            Err(errors::internal("the handler of this request panicked"))
        }
    }
}

fn begin_audit(app: &App, user: &User, headers: &HeaderMap, seen: &Seen) -> Option<Arc<Record>> {
    let outcome = app.audit.rule(&seen.asked(user))?;
    let agent = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
    Some(Arc::new(Record {
        id: seen.audit_id.clone(),
        outcome,
        uri: seen.uri.clone(),
        verb: seen.verb.clone(),
        user: user.clone(),
        source: Some(seen.source.clone()),
        user_agent: agent.unwrap_or_default().to_owned(),
        target: seen.target.clone(),
        received: clock::now_micro(),
        state: parking_lot::Mutex::default(),
    }))
}

/// The last stage; a stream's answer has only begun.
async fn finish_audit(app: &App, record: Option<Arc<Record>>, reply: Reply, long: bool) -> Reply {
    let Some(record) = record else { return reply };
    let code = reply.status().as_u16();
    if long && code < 400 {
        record.respond(code, None);
        app.audit.send(&record, Stage::ResponseStarted).await;
        return reply;
    }
    let (parts, body) = reply.into_parts();
    if !record.wants_response() && code < 400 {
        record.respond(code, None);
        app.audit.send(&record, Stage::ResponseComplete).await;
        return http::Response::from_parts(parts, body);
    }
    // Bodies that are no streams are in memory already.
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    record.respond(code, Some(&bytes));
    app.audit.send(&record, Stage::ResponseComplete).await;
    http::Response::from_parts(parts, respond::full(bytes))
}

/// Impersonation and flow control, then the handler.
async fn admit(
    app: &Arc<App>,
    real: User,
    request: Request<Incoming>,
    seen: &Seen,
    record: Option<&Record>,
) -> Reply {
    let name = real.name.clone();
    let user = match impersonated(app, real, request.headers()) {
        Ok(user) => user,
        Err(status) => return respond::status(&status, seen.encoding),
    };
    if let Some(record) = record
        && user.name != name
    {
        record.state().impersonated = Some(user.clone());
    }
    // Streams other than watches are not limited, as upstream.
    if seen.long && seen.verb != "watch" {
        return run(app, user, request, seen).await;
    }
    let admitted = app.flow.admit(&seen.asked(&user), width(app, seen)).await;
    let (mut reply, class) = match admitted {
        Ok(ticket) => {
            let guard = (!seen.long).then(|| app.metrics.inflight(seen.method != Method::GET));
            let reply = run(app, user, request, seen).await;
            drop(guard);
            // A watch gives its seats back when it has begun.
            let class = ticket.class().clone();
            (reply, class)
        }
        Err(class) => (respond::status(&errors::too_many(), seen.encoding), class),
    };
    for (name, uid) in [
        ("x-kubernetes-pf-flowschema-uid", &class.schema_uid),
        ("x-kubernetes-pf-prioritylevel-uid", &class.level_uid),
    ] {
        if let Ok(value) = HeaderValue::from_str(uid) {
            reply.headers_mut().insert(name, value);
        }
    }
    reply
}

async fn run(app: &Arc<App>, user: User, request: Request<Incoming>, seen: &Seen) -> Reply {
    let answered = if let Some(remote) = app.aggregation.remote(&seen.path) {
        aggregation::pass_on(app, &remote, user, request, &seen.target).await
    } else if seen.target.resource.is_empty() {
        paths::handle(app.clone(), user, request).await
    } else {
        dispatch::handle(app.clone(), user, request, seen.target.clone()).await
    };
    answered.unwrap_or_else(|status| respond::status(&status, seen.encoding))
}

/// Seats that a request costs: lists, and watches that begin with all objects, by how many there are.
fn width(app: &App, seen: &Seen) -> flow::Width {
    let Seen { target, query, verb, .. } = seen;
    let lists = match verb.as_str() {
        "list" => true,
        "watch" => {
            query.flag("sendInitialEvents") || matches!(query.get("resourceVersion"), "" | "0")
        }
        _ => false,
    };
    let registry = app.registry.load();
    let known = registry.find(&target.group, &target.version, &target.resource);
    let one = query.get("fieldSelector").starts_with("metadata.name=");
    if !lists || one || known.is_none() {
        return 1;
    }
    let limit = query.get("limit").parse().unwrap_or(0);
    let objects = app.cache.collection(&Collection::of(&target.group, &target.resource)).len();
    flow::list_width(objects, limit)
}

fn impersonated(app: &App, real: User, headers: &HeaderMap) -> Result<User, Status> {
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
        dry_run: if seen.query.has("dryRun") { "All".into() } else { String::new() },
        code,
    };
    app.metrics.observe(request, (!seen.long).then_some(elapsed));
    let revision = app.cache.revision();
    let millis = elapsed.as_secs_f64() * 1e3;
    tracing::debug!(%method, %path, code, revision, millis, "request");
    if !seen.long && elapsed > SLOW {
        let trace_id = format!("{:032x}", seen.trace.id);
        tracing::info!(%verb, %path, code, millis, audit_id = seen.audit_id, trace_id, "slow request");
    }
}
