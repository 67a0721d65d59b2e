//! LIST: objects of a collection at one revision, in pages.

use std::sync::Arc;

use api::Status;
use bytes::{BufMut, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{
    Filter,
    page::{self, Token},
    past,
};
use crate::{
    accept::{Encoding, Form},
    cache::{Expired, Item, ListBody},
    call::Call,
    convert, errors,
    query::{VersionMatch, forbidden_list_option},
    respond::{self, Reply},
};

/// The page that answers one request.
struct Page {
    items: Vec<Arc<Item>>,
    revision: u64,
    next: Option<Token>,
    /// How many follow; only known without selectors.
    remaining: Option<usize>,
}

impl Page {
    fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if let Some(next) = &self.next {
            metadata["continue"] = json!(next.encode());
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        metadata
    }
}

pub async fn list(call: &Call) -> Result<Reply, Status> {
    let filter = Filter::parse(call)?;
    let limit = usize::try_from(call.query.number("limit")?.unwrap_or(0)).unwrap_or(0);
    let token = Token::parse(call.query.get("continue"))?;
    let read = read(call, token.as_ref()).await?;
    let (items, revision) = read.map_err(|expired| gone(call, token.as_ref(), expired))?;
    let items = crate::custom::conversion::items(call, items).await?;
    Ok(reply(call, &select(items, revision, &filter, limit, token.as_ref())))
}

type Snapshot = (Vec<Arc<Item>>, u64);

/// The objects at the revision that the request asks for. The inner error is a snapshot that is no longer there.
async fn read(call: &Call, token: Option<&Token>) -> Result<Result<Snapshot, Expired>, Status> {
    let cache = &call.app.cache;
    let asked = call.query.resource_version()?;
    let matching = call.query.version_match()?;
    if let Some(token) = token {
        if asked.is_some_and(|revision| revision > 0) || matching != VersionMatch::Unset {
            return Err(errors::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        if let Some(revision) = token.revision {
            return at_revision(call, revision).await;
        }
        return Ok(Ok(newest(call)));
    }
    match (asked, matching) {
        (None, VersionMatch::Unset) => call.app.sync_reads().await?,
        (None, _) => {
            let why =
                "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
            return Err(forbidden_list_option("resourceVersionMatch", why));
        }
        (Some(0), VersionMatch::Exact) => {
            let why =
                "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return Err(forbidden_list_option("resourceVersionMatch", why));
        }
        (Some(revision), matching) => {
            if !cache.wait(revision).await {
                return Err(errors::too_large(revision, cache.revision()));
            }
            if matching == VersionMatch::Exact {
                return at_revision(call, revision).await;
            }
        }
    }
    Ok(Ok(newest(call)))
}

fn newest(call: &Call) -> Snapshot {
    // The order matters: what is complete up to the revision read first is in the list read after it.
    let complete = call.app.cache.revision();
    let (items, changed) = call.app.cache.collection(&call.collection).list(call.namespace());
    (items, complete.max(changed))
}

/// From the cache's history, else from the store, which remembers until it is compacted.
async fn at_revision(call: &Call, revision: u64) -> Result<Result<Snapshot, Expired>, Status> {
    let items = match call.app.cache.list_at(&call.collection, call.namespace(), revision) {
        Ok(items) => items,
        Err(_) => match past::list(call, revision).await {
            Ok(items) => items,
            Err(store::Error::Compacted { oldest, .. }) => {
                return Ok(Err(Expired { oldest: oldest.0 }));
            }
            Err(error) => return Err(errors::store(&error)),
        },
    };
    Ok(Ok((items, revision)))
}

fn select(
    mut items: Vec<Arc<Item>>,
    revision: u64,
    filter: &Filter,
    limit: usize,
    token: Option<&Token>,
) -> Page {
    if let Some(token) = token {
        items.retain(|item| *item.key > *token.after);
    }
    if !filter.is_empty() {
        items.retain(|item| filter.matches(item));
    }
    let (count, more) = page::cut(items.len(), limit);
    let remaining = (more && filter.is_empty()).then(|| items.len() - count);
    items.truncate(count);
    let next = more.then(|| Token {
        revision: Some(revision),
        after: items.last().map(|item| item.key.to_string()).unwrap_or_default(),
    });
    Page { items, revision, next, remaining }
}

const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. \
    You can start a new list without the continue parameter, or use the continue token in this response \
    to retrieve the remainder of the results. Continuing with the provided token results in an \
    inconsistent list - objects that were created, modified, or deleted between the time the first chunk \
    was returned and now may show up in the list.";

/// 410; after a continue token with one that goes on from the newest state.
fn gone(call: &Call, token: Option<&Token>, expired: Expired) -> Status {
    let Some(token) = token else {
        let asked = call.query.resource_version().ok().flatten().unwrap_or_default();
        return errors::expired(asked, expired.oldest);
    };
    let next = Token { revision: None, after: token.after.clone() };
    Status { continue_token: Some(next.encode()), ..Status::new(api::Reason::Expired, EXPIRED) }
}

fn reply(call: &Call, page: &Page) -> Reply {
    let plain = call.output.form == Form::Plain && call.output.encoding == Encoding::Json;
    if plain && !convert::is_needed(&call.kind) && !call.is_pretty() {
        return copied(call, page);
    }
    let objects: Vec<_> =
        page.items.iter().map(|item| convert::to_served(&call.kind, item.value())).collect();
    let value = match call.output.form {
        Form::Plain => json!({
            "kind": call.kind.list_kind, "apiVersion": call.kind.api_version(),
            "metadata": page.metadata(), "items": objects,
        }),
        Form::Table(version) => {
            let objects: Vec<&Value> = objects.iter().map(AsRef::as_ref).collect();
            respond::table_with(call, &objects, page.metadata(), version, true)
        }
        Form::Metadata(version) => {
            let items: Vec<Value> =
                objects.iter().map(|object| respond::partial(object, version)).collect();
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": page.metadata(), "items": items,
            })
        }
    };
    respond::encoded(call, StatusCode::OK, &value)
}

/// The list's JSON, copied from the objects' bytes: piece by piece, or at once where it is to be compressed.
fn copied(call: &Call, page: &Page) -> Reply {
    let head = format!(
        "{{\"kind\":{:?},\"apiVersion\":{:?},\"metadata\":{},\"items\":[",
        call.kind.list_kind,
        call.kind.api_version(),
        page.metadata()
    );
    let mut body = ListBody::new(head.into(), page.items.clone());
    if respond::is_compressed(call, usize::try_from(body.len()).unwrap_or(usize::MAX)) {
        let mut all = BytesMut::with_capacity(usize::try_from(body.len()).unwrap_or_default());
        while let Some(piece) = body.piece() {
            all.put_slice(&piece);
        }
        let all = all.freeze();
        let reply = respond::bytes(StatusCode::OK, "application/json", all.clone());
        return respond::compress(call, reply, all);
    }
    let mut reply = respond::bytes(StatusCode::OK, "application/json", "");
    *reply.body_mut() = body.map_err(|never| match never {}).boxed_unsync();
    reply
}
