//! ResourceQuota: what a write adds to usage is written with it in one transaction, so that no number of concurrent
//! writes gets past a limit. What `api::quota` decides is done here.

use std::sync::Arc;

use api::{
    Status,
    quantity::{Format, Quantity},
    quota::{self, Verdict},
    resources::Amounts,
};
use serde_json::Value;

use super::{chain::Charge, request::Request};
use crate::{
    cache::Item,
    clock,
    commit::{Place, Rider},
    keys::Collection,
};

/// What the write adds to the quotas of its namespace; refuses what does not fit.
pub async fn charge<'a>(
    request: &Request<'a>,
    object: &Value,
    old: &Value,
) -> Result<Charge<'a>, Status> {
    if !counts(request) || quotas(request).is_empty() {
        return Ok(Charge::default());
    }
    let turn = request.call.app.admission.turn(&request.namespace).await;
    let mut riders = Vec::new();
    for item in quotas(request) {
        let charged = charge_one(request, &item, object, old)?;
        riders.extend(charged);
    }
    Ok(Charge::new(riders, turn))
}

/// Whether a request can change usage: creations, and the changes that upstream's evaluators handle.
fn counts(request: &Request<'_>) -> bool {
    let core = |resource: &str, subresource: &str| request.is_sub("", resource, subresource);
    if request.is_create() {
        return request.subresource().is_empty();
    }
    request.is_update()
        && (core("services", "") || core("persistentvolumeclaims", "") || core("pods", "resize"))
}

fn quotas(request: &Request<'_>) -> Vec<Arc<Item>> {
    let quotas = Collection::of("", "resourcequotas");
    let (items, _) = request.call.app.cache.collection(&quotas).list(&request.namespace);
    items
}

fn charge_one(
    request: &Request<'_>,
    item: &Item,
    object: &Value,
    old: &Value,
) -> Result<Option<Rider>, Status> {
    let kind = request.kind();
    let resource = (kind.group.as_str(), kind.plural.as_str());
    let limits = item.value();
    let now = clock::now_unix();
    let usage_of = |object: &Value| -> Amounts {
        if object.is_null() || !quota::matches_scopes(limits, resource, object) {
            return Amounts::new();
        }
        quota::usage(resource.0, resource.1, object, now)
    };
    let delta = difference(usage_of(object), &usage_of(old));
    let hard = quota::hard(limits);
    if !delta.keys().any(|name| hard.contains_key(name)) {
        return Ok(None);
    }
    if resource == ("", "pods")
        && let Some(missing) = quota::missing_compute(hard.keys(), object)
    {
        let name = api::meta::name(limits);
        return Err(
            request.refuse(object, &format!("failed quota: {name}: must specify {missing}"))
        );
    }
    let used = quota::known_used(limits).unwrap_or_else(|| recount(request, limits));
    match quota::charge(limits, &used, &delta) {
        Verdict::Unchanged => Ok(None),
        Verdict::Exceeded(why) => Err(request.refuse(object, &why)),
        Verdict::Charged(used) => Ok(Some(rider(request, item, &used))),
    }
}

/// `new - old`, without what stays the same.
fn difference(new: Amounts, old: &Amounts) -> Amounts {
    let mut delta = new;
    for (name, amount) in old {
        let zero = Quantity::from_units(0, Format::DecimalSi);
        let now = delta.get(name).copied().unwrap_or(zero);
        delta.insert(name.clone(), now - *amount);
    }
    delta.retain(|_, amount| !amount.is_zero());
    delta
}

/// Usage of a quota whose status does not tell yet, counted from what is there.
fn recount(request: &Request<'_>, limits: &Value) -> Amounts {
    let mut used = Amounts::new();
    for (group, resource) in quota::counted_resources(limits) {
        let collection = Collection::of(&group, &resource);
        let (items, _) = request.call.app.cache.collection(&collection).list(&request.namespace);
        let objects = items.iter().map(|item| &**item.value());
        let own = quota::total(limits, (&group, &resource), objects, clock::now_unix());
        used.extend(own);
    }
    used
}

fn rider(request: &Request<'_>, item: &Item, used: &Amounts) -> Rider {
    let mut object = (**item.value()).clone();
    object["status"] = quota::status(&object, used);
    let place = Place {
        collection: Collection::of("", "resourcequotas"),
        namespace: request.namespace.clone(),
        name: item.name().to_owned(),
    };
    Rider { place, revision: item.revision, object }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_names_what_grows_and_what_shrinks() {
        let set = |value: Value| api::resources::amounts(&value);
        let delta = difference(
            set(json!({"a": "3", "b": "1", "c": "1"})),
            &set(json!({"a": "1", "b": "1", "d": "2"})),
        );
        let shown: Vec<String> = delta.iter().map(|(name, n)| format!("{name}={n}")).collect();
        assert_eq!(shown, ["a=2", "c=1", "d=-2"]);
    }
}
