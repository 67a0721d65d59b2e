//! DELETE of one object: preconditions, grace, finalizers.

use std::sync::Arc;

use api::{Kind, Status};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    admission,
    cache::Item,
    call::Call,
    clock,
    commit::{Next, Place, Race},
    convert, errors,
    respond::{self, Reply},
};

/// `meta.v1.DeleteOptions`, from the body or the query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub grace_seconds: Option<i64>,
    pub propagation: Propagation,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub dry_run: bool,
}

impl Options {
    /// As admission sees them.
    fn to_json(&self) -> Value {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(seconds) = self.grace_seconds {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        let policy = match self.propagation {
            Propagation::Unset => None,
            Propagation::Background => Some("Background"),
            Propagation::Foreground => Some("Foreground"),
            Propagation::Orphan => Some("Orphan"),
        };
        if let Some(policy) = policy {
            options["propagationPolicy"] = json!(policy);
        }
        let preconditions = [("uid", &self.uid), ("resourceVersion", &self.resource_version)];
        for (field, value) in preconditions {
            if let Some(value) = value {
                options["preconditions"][field] = json!(value);
            }
        }
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    }
}

/// What happens to dependents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Finalizers stay as they are; the collector deletes dependents.
    #[default]
    Unset,
    Background,
    Foreground,
    Orphan,
}

/// How a deletion went.
pub struct Deleted {
    pub item: Arc<Item>,
    /// False: it is marked and goes away later.
    pub gone: bool,
}

pub async fn delete(mut call: Call) -> Result<Reply, Status> {
    let options = read_options(&mut call).await?;
    let name = call.target.name.clone();
    let namespace = call.target.namespace.clone();
    let deleted = delete_object(&call, &namespace, &name, &options).await?;
    if deleted.gone && !returns_object(&call.kind) {
        let uid = api::meta::uid(deleted.item.value()).to_owned();
        let success = respond::success(&call, &name, &uid);
        return Ok(respond::encoded(&call, StatusCode::OK, &success));
    }
    Ok(respond::item(&call, StatusCode::OK, &deleted.item))
}

/// Kinds whose deletion answers with the object, as upstream's `ReturnDeletedObject`.
fn returns_object(kind: &Kind) -> bool {
    kind.group.is_empty()
        && matches!(
            kind.plural.as_str(),
            "pods"
                | "services"
                | "podtemplates"
                | "persistentvolumeclaims"
                | "persistentvolumes"
                | "resourcequotas"
                | "serviceaccounts"
        )
}

/// Reads DeleteOptions; query parameters count when the body is empty.
pub async fn read_options(call: &mut Call) -> Result<Options, Status> {
    let bytes = call.read_body().await?;
    let mut options = if bytes.is_empty() {
        Options::default()
    } else {
        let media = call.header(http::header::CONTENT_TYPE);
        parse_options(&crate::body::decode(media, &bytes)?.object)?
    };
    if bytes.is_empty() {
        options.grace_seconds = call.query.number("gracePeriodSeconds")?;
        options.propagation = parse_propagation(call.query.get("propagationPolicy"))?;
        if call.query.flag("orphanDependents") {
            options.propagation = Propagation::Orphan;
        }
    }
    options.dry_run |= call.query.dry_run()?;
    Ok(options)
}

/// DeleteOptions as a tree.
pub fn parse_options(body: &Value) -> Result<Options, Status> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let mut propagation =
        parse_propagation(body["propagationPolicy"].as_str().unwrap_or_default())?;
    match body["orphanDependents"].as_bool() {
        Some(true) => propagation = Propagation::Orphan,
        Some(false) if propagation == Propagation::Unset => propagation = Propagation::Background,
        Some(false) | None => {}
    }
    Ok(Options {
        grace_seconds: body["gracePeriodSeconds"].as_i64(),
        propagation,
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        dry_run: body["dryRun"].as_array().is_some_and(|list| list.iter().any(|v| v == "All")),
    })
}

fn parse_propagation(text: &str) -> Result<Propagation, Status> {
    match text {
        "" => Ok(Propagation::Unset),
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => Err(Status::new(
            api::Reason::Invalid,
            format!(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \
                 {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
            ),
        )),
    }
}

/// Deletes one object of the call's kind.
pub async fn delete_object(
    call: &Call,
    namespace: &str,
    name: &str,
    options: &Options,
) -> Result<Deleted, Status> {
    let place = Place::new(&call.kind, namespace, name);
    let kind = call.kind.clone();
    let mut race = Race::start(&call.app, &kind, &place)?;
    loop {
        let current = race.current().clone();
        let old = current.value();
        check_preconditions(&kind, name, old, options)?;
        let served = convert::to_served(&kind, old).into_owned();
        let asked = (&options.to_json(), options.dry_run);
        admission::delete(call, (namespace, name), &served, asked).await?;
        let next = plan(&kind, old, options, clock::now_unix());
        let gone = matches!(next, Next::Delete(_));
        if let Some(item) = race.write(&next, options.dry_run, &[]).await? {
            return Ok(Deleted { item, gone });
        }
    }
}

fn check_preconditions(
    kind: &Kind,
    name: &str,
    old: &Value,
    options: &Options,
) -> Result<(), Status> {
    let checks = [
        ("UID", "UID", &options.uid, api::meta::uid(old)),
        (
            "ResourceVersion",
            "ResourceVersion",
            &options.resource_version,
            api::meta::text(old, "resourceVersion"),
        ),
    ];
    for (what, place, wanted, present) in checks {
        if let Some(wanted) = wanted
            && wanted != present
        {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {place} in object meta: {present}"
            );
            return Err(errors::conflict(kind, name, &why));
        }
    }
    Ok(())
}

/// What a deletion makes of an object. Pure; `now` in Unix seconds.
#[must_use]
pub fn plan(kind: &Kind, old: &Value, options: &Options, now: i64) -> Next {
    let mut new = old.clone();
    let finalizers_changed = set_finalizers(&mut new, options.propagation);
    let grace = grace(kind, old, options);
    let finalizers = has_finalizers(kind, &new);
    if old["metadata"].get("deletionTimestamp").is_some() {
        return plan_again(&new, grace, finalizers, finalizers_changed, now);
    }
    if grace == 0 && !finalizers {
        return Next::Delete(new);
    }
    mark(&mut new, grace, now);
    if is_namespace(kind) {
        new["status"]["phase"] = json!("Terminating");
    }
    Next::Put(new)
}

/// A deletion of what is being deleted: it may only become faster.
fn plan_again(new: &Value, grace: i64, finalizers: bool, changed: bool, now: i64) -> Next {
    let mut new = new.clone();
    let present = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    if grace < present || (grace == 0 && present == 0) {
        if grace == 0 && !finalizers {
            return Next::Delete(new);
        }
        if grace < present {
            set_deletion(&mut new, grace, now);
            return Next::Put(new);
        }
    }
    if changed { Next::Put(new) } else { Next::Keep }
}

fn mark(object: &mut Value, grace: i64, now: i64) {
    if let Some(generation) = object["metadata"]["generation"].as_i64().filter(|g| *g > 0) {
        object["metadata"]["generation"] = json!(generation + 1);
    }
    set_deletion(object, grace, now);
}

fn set_deletion(object: &mut Value, grace: i64, now: i64) {
    object["metadata"]["deletionTimestamp"] = json!(clock::format_seconds(now + grace));
    object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
}

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "pods"
}

fn is_namespace(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "namespaces"
}

/// Only pods die gracefully; one that no node has, or that has ended, goes at once.
fn grace(kind: &Kind, pod: &Value, options: &Options) -> i64 {
    if !is_pod(kind) {
        return 0;
    }
    let unscheduled = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || ended {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64();
    match options.grace_seconds.or(own).unwrap_or(30) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

/// Whether anything still has to be done before the object may go. A namespace also has `spec.finalizers`.
#[must_use]
pub fn has_finalizers(kind: &Kind, object: &Value) -> bool {
    let any = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    any(&object["metadata"]["finalizers"])
        || (is_namespace(kind) && any(&object["spec"]["finalizers"]))
}

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

fn set_finalizers(object: &mut Value, propagation: Propagation) -> bool {
    let wanted = match propagation {
        Propagation::Unset => return false,
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    let old = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let mut new: Vec<Value> =
        old.iter().filter(|name| *name != FOREGROUND && *name != ORPHAN).cloned().collect();
    new.extend(wanted.map(Value::from));
    if new == old {
        return false;
    }
    let metadata: &mut Map<String, Value> =
        object["metadata"].as_object_mut().expect("stored objects have metadata");
    if new.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), Value::Array(new));
    }
    true
}

#[cfg(test)]
#[path = "delete_tests.rs"]
mod tests;
