//! PUT of an object or a subresource, and the steps that every change of an object goes through.

use std::sync::Arc;

use api::{Status, meta, patch, rules};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    admission::{self, Charge, Request},
    cache::Item,
    call::Call,
    clock,
    commit::{Next, Place, Race},
    convert,
    custom::{self, conversion},
    errors,
    respond::{self, Reply},
};

pub async fn update(mut call: Call) -> Result<Reply, Status> {
    let kind = call.kind.clone();
    let object = call.read_object(&kind).await?;
    check_name(&call, &object)?;
    if creates(&call) {
        return create_by_update(&call, object).await;
    }
    let item = change(&call, &mut |_| Ok(object.clone())).await?;
    Ok(respond::item(&call, StatusCode::OK, &item))
}

/// Kinds whose PUT creates what is not there, as upstream's strategies say (`AllowCreateOnUpdate`).
const CREATED_BY_UPDATE: &[(&str, &str)] = &[
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("events.k8s.io", "events"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

fn creates(call: &Call) -> bool {
    let kind = (call.kind.group.as_str(), call.kind.plural.as_str());
    let place = Place::new(&call.kind, &call.target.namespace, &call.target.name);
    call.target.subresource.is_empty()
        && CREATED_BY_UPDATE.contains(&kind)
        && call.app.cache.get(&place.collection, &place.namespace, &place.name).is_none()
}

/// Who may update but not create may not create this way either.
async fn create_by_update(call: &Call, mut object: Value) -> Result<Reply, Status> {
    if !meta::text(&object, "resourceVersion").is_empty() {
        return Err(errors::not_found(&call.kind, &call.target.name));
    }
    let mut attributes = call.attributes();
    attributes.verb = "create".into();
    call.app.authorizer.check(&attributes)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("generateName");
    }
    let item = super::create::create_object(call, object).await?;
    Ok(respond::item(call, StatusCode::CREATED, &item))
}

/// Kinds whose PUT must name the version it replaces, as upstream's strategies say (`AllowUnconditionalUpdate`).
/// Custom resources too.
const CONDITIONAL: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("coordination.k8s.io", "leases"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
];

/// A PUT without a resourceVersion where one is needed.
fn check_version_given(call: &Call, new: &Value) -> Result<(), Status> {
    let kind = (call.kind.group.as_str(), call.kind.plural.as_str());
    let needed = call.kind.schema.is_empty() || CONDITIONAL.contains(&kind);
    if call.verb == "update" && needed && meta::text(new, "resourceVersion").is_empty() {
        return Err(errors::invalid(
            &call.kind,
            &call.target.name,
            "metadata.resourceVersion",
            "FieldValueInvalid",
            "Invalid value: 0: must be specified for an update",
        ));
    }
    Ok(())
}

fn check_name(call: &Call, object: &Value) -> Result<(), Status> {
    let (given, asked) = (meta::name(object), call.target.name.as_str());
    if given.is_empty() {
        return Err(errors::invalid(
            &call.kind,
            asked,
            "metadata.name",
            "FieldValueRequired",
            "Required value: name is required",
        ));
    }
    if given != asked {
        return Err(errors::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({asked})"
        )));
    }
    let namespace = meta::namespace(object);
    if !namespace.is_empty() && !call.namespace().is_empty() && namespace != call.namespace() {
        return Err(errors::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
            call.namespace()
        )));
    }
    Ok(())
}

/// What turns the present object (as served) into the wanted one.
pub type Edit<'a> = dyn FnMut(&Value) -> Result<Value, Status> + Send + 'a;

/// Changes the call's object: preconditions, rules, admission, validation, write. Update and all patches.
pub async fn change(call: &Call, edit: &mut Edit<'_>) -> Result<Arc<Item>, Status> {
    let place = Place::new(&call.kind, &call.target.namespace, &call.target.name);
    let request = Request::update(call)?;
    let kind = call.kind.clone();
    // Admission that has to wait (allocation) is done beforehand, on the newest object that the cache has.
    let _allocation = admission::reserve_for_update(call).await;
    let mut race = Race::start(&call.app, &kind, &place)?;
    loop {
        let current = race.current().clone();
        let outdated = convert::is_outdated(&kind, current.value());
        let served = conversion::item(call, current).await?;
        let (next, charge) = step(&request, &served, outdated, edit).await?;
        if let Some(item) = race.write(&next, request.dry_run, &charge.riders).await? {
            return conversion::item(call, item).await;
        }
    }
}

async fn step<'a>(
    request: &Request<'a>,
    current: &Item,
    outdated: bool,
    edit: &mut Edit<'_>,
) -> Result<(Next, Charge<'a>), Status> {
    let call = request.call;
    let kind = &call.kind;
    let served = convert::to_served(kind, current.value());
    let old: &Value = &served;
    let subresource = call.target.subresource.as_str();
    let mut new = edit(old)?;
    check_version_given(call, &new)?;
    check_preconditions(call, old, &new)?;
    keep_system_fields(old, &mut new);
    rules::set_defaults(kind, &mut new);
    custom::set_defaults(kind, &mut new);
    admission::mutate(request, &mut new, old).await?;
    // A change of the scale follows the rules of the object itself.
    let part = if subresource == "scale" { "" } else { subresource };
    rules::prepare_update(kind, old, &mut new, part);
    if part.is_empty() {
        admission::fill_status(kind, &mut new);
    }
    admission::allocate_updated(call, &mut new, old)?;
    admission::keep_requester(kind, &mut new, old);
    let (manager, now) = (call.manager(), clock::now());
    if call.header(http::header::CONTENT_TYPE) != super::create::APPLY_PATCH {
        let registry = call.app.registry.load();
        let custom = registry.custom_schema(kind);
        patch::apply::track_custom(kind, custom, Some(old), &mut new, &call.writer(&manager, &now));
    }
    // These change what an ordinary update may not.
    let special = matches!(subresource, "resize" | "ephemeralcontainers" | "finalize");
    let mut causes = match subresource {
        "status" | "approval" => custom::validate_status(&call.app, kind, &new, old),
        _ => custom::validate(&call.app, kind, &new, (!special).then_some(old)),
    };
    if subresource == "ephemeralcontainers" {
        causes.extend(rules::validate_ephemeral(&new, old));
    }
    if !causes.is_empty() {
        return Err(rules::invalid(kind, &call.target.name, causes));
    }
    admission::validate(request, &new, old).await?;
    if is_finished(call, old, &new) {
        let stored = conversion::to_stored(&call.app, kind, new).await?;
        return Ok((Next::Delete(stored), Charge::default()));
    }
    // An object that is stored in an old version is written even as it is: that is how it gets into the newest one.
    if !outdated && is_same(old, &new) {
        return Ok((Next::Keep, Charge::default()));
    }
    let charge = admission::charge(request, &new, old).await?;
    Ok((Next::Put(conversion::to_stored(&call.app, kind, new).await?), charge))
}

fn check_preconditions(call: &Call, old: &Value, new: &Value) -> Result<(), Status> {
    let (given, present) = (meta::text(new, "resourceVersion"), meta::text(old, "resourceVersion"));
    if !given.is_empty() && given != present {
        return Err(errors::modified(&call.kind, &call.target.name));
    }
    let (given, present) = (meta::uid(new), meta::uid(old));
    if !given.is_empty() && given != present {
        let why = format!(
            "Precondition failed: UID in precondition: {given}, UID in object meta: {present}"
        );
        return Err(errors::conflict(&call.kind, &call.target.name, &why));
    }
    Ok(())
}

/// Metadata that only the server writes.
fn keep_system_fields(old: &Value, new: &mut Value) {
    if !new["metadata"].is_object() {
        new["metadata"] = json!({});
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "generateName",
    ] {
        let metadata = new["metadata"].as_object_mut().expect("made an object above");
        match old["metadata"].get(field) {
            Some(value) => drop(metadata.insert(field.into(), value.clone())),
            None => drop(metadata.remove(field)),
        }
    }
    if let Some(metadata) = new["metadata"].as_object_mut() {
        metadata.remove("selfLink");
    }
}

/// A deleted object whose last finalizer went away.
fn is_finished(call: &Call, old: &Value, new: &Value) -> bool {
    let deleted = old["metadata"].get("deletionTimestamp").is_some();
    let no_grace = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    deleted && no_grace && !super::delete::has_finalizers(&call.kind, new)
}

/// Nothing but times in managedFields differs: the write is left out.
#[must_use]
pub fn is_same(old: &Value, new: &Value) -> bool {
    fn managers(object: &Value) -> Vec<Value> {
        let mut fields =
            object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        for field in fields.iter_mut().filter_map(Value::as_object_mut) {
            field.remove("time");
        }
        fields
    }
    fn rest(object: &Value) -> Value {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
        object
    }
    managers(old) == managers(new) && rest(old) == rest(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_times_in_managed_fields_is_no_change() {
        let object = |time: &str, name: &str| json!({"metadata": {"name": name, "managedFields": [{"manager": "a", "time": time}]}});
        assert!(is_same(&object("1", "x"), &object("2", "x")));
        assert!(!is_same(&object("1", "x"), &object("1", "y")));
    }
}
