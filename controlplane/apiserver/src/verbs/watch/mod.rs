//! WATCH: a stream of changes, each one line of JSON or one frame of protobuf.

mod frame;
mod stream;

use std::time::Duration;

use api::Status;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};

use super::Filter;
use crate::{
    accept::{Encoding, Output},
    cache::Interest,
    call::Call,
    errors,
    query::{VersionMatch, forbidden_list_option},
    respond::Reply,
    serve::websocket,
};
use stream::Stream;

/// A watch without `timeoutSeconds` ends after this time plus up to as much again, as upstream.
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With the present objects as ADDED events; `bookmark` closes them with the initial-events-end bookmark.
    Present {
        bookmark: bool,
    },
    After(u64),
}

/// Answers with a stream that ends at its timeout, at shutdown, or when its reader is too slow.
pub async fn watch(mut call: Call) -> Result<Reply, Status> {
    let socket = websocket::take(&mut call);
    let encoding = call.output.encoding;
    let permit = call.app.watchers.clone().try_acquire_owned().map_err(|_| errors::too_many())?;
    let filter = Filter::parse(&call)?;
    let interest = interest(&call, &filter);
    let start = start(&call).await?;
    let media = match encoding {
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Encoding::Json | Encoding::Yaml => "application/json",
    };
    let cached = call.app.cache.collection(&call.collection);
    let complete = call.app.cache.revision();
    let mut stream = Stream::new(call, filter, permit)?;
    match start {
        Start::Present { bookmark } => {
            let (items, changed, subscription) = cached.subscribe_now(interest);
            let items = stream.served(items).await?;
            stream.begin(&items, changed.max(complete), bookmark);
            stream.follow(subscription).await;
        }
        Start::After(revision) => match cached.subscribe(interest, revision) {
            Ok(subscription) => {
                stream.revision = revision;
                stream.follow(subscription).await;
            }
            // In the stream, as upstream's watch cache: clients that are refused at the door ask for the same revision again.
            Err(expired) => stream.fail(&errors::expired(revision, expired.oldest)),
        },
    }
    let mut reply = Response::new(StreamBody::new(stream.into_frames()).boxed_unsync());
    *reply.status_mut() = StatusCode::OK;
    let media = HeaderValue::from_static(media);
    reply.headers_mut().insert(header::CONTENT_TYPE, media);
    reply
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    match socket {
        Some(socket) => socket.carry_events(reply, encoding),
        None => Ok(reply),
    }
}

fn interest(call: &Call, filter: &Filter) -> Interest {
    let name = if call.target.name.is_empty() {
        filter.name().unwrap_or_default().to_owned()
    } else {
        call.target.name.clone()
    };
    let namespace = match call.namespace() {
        "" => filter.namespace().unwrap_or_default().to_owned(),
        namespace => namespace.to_owned(),
    };
    Interest { namespace, name }
}

async fn start(call: &Call) -> Result<Start, Status> {
    let asked = call.query.resource_version()?;
    let matching = call.query.version_match()?;
    let initial = call.query.has("sendInitialEvents").then(|| call.query.flag("sendInitialEvents"));
    match (initial, matching) {
        (Some(_), VersionMatch::NotOlderThan) | (None, VersionMatch::Unset) => {}
        (Some(_), _) => {
            let why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(forbidden_list_option("resourceVersionMatch", why));
        }
        (None, _) => {
            let why = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(forbidden_list_option("resourceVersionMatch", why));
        }
    }
    if let Some(revision) = asked
        && !call.app.cache.wait(revision).await
    {
        return Err(errors::too_large(revision, call.app.cache.revision()));
    }
    match (initial, asked) {
        (Some(true), None) => {
            call.app.sync_reads().await?;
            Ok(Start::Present { bookmark: call.query.flag("allowWatchBookmarks") })
        }
        (Some(true), Some(_)) => {
            Ok(Start::Present { bookmark: call.query.flag("allowWatchBookmarks") })
        }
        (Some(false), None | Some(0)) => Ok(Start::After(call.app.cache.revision())),
        (None, None | Some(0)) => Ok(Start::Present { bookmark: false }),
        (_, Some(revision)) => Ok(Start::After(revision)),
    }
}

/// How long the watch lives.
fn timeout(call: &Call) -> Result<Duration, Status> {
    match call.query.number("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.unsigned_abs())),
        _ => Ok(TIMEOUT_MIN + TIMEOUT_MIN.mul_f64(rand::random::<f64>())),
    }
}

/// Only whole objects in JSON are copied.
fn copies_bytes(call: &Call) -> bool {
    call.output == Output::JSON && !crate::convert::is_needed(&call.kind)
}
