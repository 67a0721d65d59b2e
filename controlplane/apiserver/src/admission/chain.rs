//! The order of admission, upstream's `pkg/kubeapiserver/options/plugins.go`: built-in plugins that change, then
//! policies and webhooks that change (twice where one asks for it); later, on what will be stored, all that refuse.

use api::{Scope, Status, meta};
use serde_json::Value;

use super::{
    access_review, certificates, default_ingress_class, deny_external_ips, event_rate,
    extended_resources, lifecycle, limit_ranger, node_taints, owner_references, pod_security,
    policy, priority, quota, registration, reinvocation::Session, request::Request, resize,
    runtime_class, service_account, storage_class, storage_protection, tolerations, webhook,
};
use crate::commit::Rider;

/// What a write carries along, and what is held until it is visible.
#[derive(Default)]
pub struct Charge<'a> {
    /// The usage of quotas, written with the object.
    pub riders: Vec<Rider>,
    _turn: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl<'a> Charge<'a> {
    pub(super) fn new(riders: Vec<Rider>, turn: tokio::sync::MutexGuard<'a, ()>) -> Self {
        Self { riders, _turn: Some(turn) }
    }
}

/// Changes an object before the kind's own rules see it. `old` is null for a creation.
pub async fn mutate(request: &Request<'_>, object: &mut Value, old: &Value) -> Result<(), Status> {
    let mut session = Session::default();
    built_in(request, object, old).await?;
    extensions(request, object, old, &mut session).await?;
    if session.end_first(object) {
        built_in(request, object, old).await?;
        session.begin_second(object);
        extensions(request, object, old, &mut session).await?;
    }
    Ok(())
}

/// Policies, then webhooks, that change.
async fn extensions(
    request: &Request<'_>,
    object: &mut Value,
    old: &Value,
    session: &mut Session,
) -> Result<(), Status> {
    policy::mutating::admit(request, object, old, session).await?;
    webhook::mutating::admit(request, object, old, session).await
}

/// The built-in plugins that change, and those of their checks that come this early upstream.
async fn built_in(request: &Request<'_>, object: &mut Value, old: &Value) -> Result<(), Status> {
    lifecycle::admit(request, object).await?;
    limit_ranger::admit(request, object, old)?;
    service_account::admit(request, object).await?;
    access_review::admit(request, object, old)?;
    node_taints::admit(request, object);
    priority::admit(request, object, old)?;
    tolerations::admit(request, object);
    extended_resources::admit(request, object);
    storage_class::admit(request, object);
    storage_protection::admit(request, object);
    runtime_class::admit(request, object)?;
    default_ingress_class::admit(request, object)?;
    certificates::admit(request, object);
    Ok(())
}

/// Refuses what may not be stored, deleted or connected to. `object` is as it would be stored.
pub async fn validate(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    registration::validate(request, object, old)?;
    lifecycle::validate(request, old)?;
    limit_ranger::validate(request, object, old)?;
    service_account::validate(request, object).await?;
    pod_security::validate(request, object, old)?;
    priority::validate(request, object, old)?;
    event_rate::validate(request, object)?;
    owner_references::validate(request, object, old)?;
    resize::validate(request, object, old)?;
    runtime_class::validate(request, object)?;
    certificates::validate(request, object, old)?;
    deny_external_ips::validate(request, object, old)?;
    access_review::validate(request, object, old)?;
    policy::validating::validate(request, object, old).await?;
    webhook::validating::validate(request, object, old).await
}

/// ResourceQuota, last: what the write adds to usage. Keep the answer until the write is done.
pub async fn charge<'a>(
    request: &Request<'a>,
    object: &Value,
    old: &Value,
) -> Result<Charge<'a>, Status> {
    if request.kind().scope == Scope::Cluster || meta::namespace(object).is_empty() {
        return Ok(Charge::default());
    }
    quota::charge(request, object, old).await
}
