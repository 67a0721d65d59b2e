//! `matchPolicy: Equivalent`: a rule about one version of a resource is about all of them, and gets objects in its own.

use std::sync::Arc;

use api::{Kind, Scope, Status};
use serde_json::Value;

use super::rules::{self, Subject};
use crate::{
    admission::request::{ObjectKind, Request},
    custom::conversion,
    keys::Collection,
};

/// What matched: the resource in whose terms the webhook or policy thinks.
#[derive(Debug, Clone)]
pub struct Matched {
    /// The row of the resource; the request's own unless another version of it matched.
    pub kind: Arc<Kind>,
    pub object_kind: ObjectKind,
    /// The objects in these terms; null until [`Matched::look`].
    pub object: Value,
    pub old: Value,
}

impl Matched {
    fn new(kind: Arc<Kind>, object_kind: ObjectKind) -> Self {
        Self { kind, object_kind, object: Value::Null, old: Value::Null }
    }

    /// Takes in the request's objects as they are now.
    pub async fn look(
        &mut self,
        request: &Request<'_>,
        object: &Value,
        old: &Value,
    ) -> Result<(), Status> {
        self.object = to_matched(request, self, object).await?;
        self.old = to_matched(request, self, old).await?;
        Ok(())
    }

    /// Whether objects must be converted.
    #[must_use]
    pub fn is_other(&self, request: &Request<'_>) -> bool {
        let own = request.kind();
        self.kind.group != own.group || self.kind.version != own.version
    }
}

/// The request in its own terms.
#[must_use]
pub fn own(request: &Request<'_>) -> Matched {
    Matched::new(request.call.kind.clone(), request.object_kind.clone())
}

/// The first of `rules` that is about the request, also by an equivalent resource where the policy says so.
#[must_use]
pub fn find(request: &Request<'_>, rules: &Value, equivalent: bool) -> Option<Matched> {
    let rules = rules.as_array().map_or(&[][..], Vec::as_slice);
    let subject = subject_of(request, request.kind());
    if rules.iter().any(|rule| rules::matches(rule, &subject)) {
        return Some(own(request));
    }
    if !equivalent {
        return None;
    }
    for other in others(request) {
        let subject = subject_of(request, &other);
        if rules.iter().any(|rule| rules::matches(rule, &subject)) {
            return Some(matched(request, other));
        }
    }
    None
}

fn matched(request: &Request<'_>, other: Arc<Kind>) -> Matched {
    let own = request.kind();
    let same_shape = request.object_kind.kind == own.kind && request.object_kind.group == own.group;
    let object_kind = if same_shape {
        ObjectKind {
            group: other.group.clone(),
            version: other.version.clone(),
            kind: other.kind.clone(),
        }
    } else {
        request.object_kind.clone()
    };
    Matched::new(other, object_kind)
}

/// The other rows over the same stored collection that have what is asked for.
fn others(request: &Request<'_>) -> Vec<Arc<Kind>> {
    let (own, subresource) = (request.kind(), request.subresource());
    let registry = request.call.app.registry.load();
    let collection = Collection::of(&own.group, &own.plural);
    let versions = registry.groups.iter().flat_map(|group| &group.versions);
    versions
        .flat_map(|version| &version.kinds)
        .filter(|kind| kind.plural == own.plural)
        .filter(|kind| kind.group != own.group || kind.version != own.version)
        .filter(|kind| Collection::of(&kind.group, &kind.plural) == collection)
        .filter(|kind| subresource.is_empty() || kind.subresource(subresource).is_some())
        .cloned()
        .collect()
}

fn subject_of<'a>(request: &'a Request<'_>, kind: &'a Kind) -> Subject<'a> {
    Subject {
        operation: request.operation,
        group: &kind.group,
        version: &kind.version,
        resource: &kind.plural,
        subresource: request.subresource(),
        is_namespaced: kind.scope == Scope::Namespaced,
        name: &request.name,
    }
}

/// Whether any of `rules` excludes the request (policies' `excludeResourceRules`).
#[must_use]
pub fn excluded(request: &Request<'_>, rules: &Value, equivalent: bool) -> bool {
    rules.as_array().is_some_and(|rules| !rules.is_empty())
        && find(request, rules, equivalent).is_some()
}

/// An object of the request in the terms of what matched.
async fn to_matched(
    request: &Request<'_>,
    matched: &Matched,
    object: &Value,
) -> Result<Value, Status> {
    if is_scale(request) && !object.is_null() {
        return Ok(crate::subresources::scale::scale_of(object));
    }
    if object.is_null() || !matched.is_other(request) {
        return Ok(object.clone());
    }
    conversion::between(&request.call.app, (request.kind(), &matched.kind), object.clone()).await
}

/// A scale is written through its workload, which travels through the chain in its place.
fn is_scale(request: &Request<'_>) -> bool {
    request.subresource() == "scale" && request.object_kind.kind == "Scale"
}

/// Back again. `before` is the request's object as it was.
pub async fn from_matched(
    request: &Request<'_>,
    matched: &Matched,
    object: Value,
    before: &Value,
) -> Result<Value, Status> {
    if is_scale(request) {
        let mut scaled = before.clone();
        scaled["spec"]["replicas"] = object["spec"]["replicas"].clone();
        return Ok(scaled);
    }
    if object.is_null() || !matched.is_other(request) {
        return Ok(object);
    }
    conversion::between(&request.call.app, (&matched.kind, request.kind()), object).await
}
