//! The parameters that a binding gives a policy: `paramKind`, `paramRef`, `parameterNotFoundAction`.

use std::sync::Arc;

use api::{Kind, Scope, selector::Labels};
use serde_json::Value;

use crate::{admission::request::Request, keys::Collection};

/// What `params` is in an evaluation.
pub enum Params {
    /// The policy has no parameters.
    None,
    /// One evaluation for each.
    Each(Vec<Value>),
}

/// The parameters of a policy by a binding; an error is a mistake in their configuration.
pub fn of(request: &Request<'_>, policy: &Value, binding: &Value) -> Result<Params, String> {
    let kind = &policy["spec"]["paramKind"];
    let reference = &binding["spec"]["paramRef"];
    if !kind.is_object() {
        return Ok(Params::None);
    }
    if !reference.is_object() {
        return Ok(Params::Each(vec![Value::Null]));
    }
    let found = find(request, kind, reference)?;
    if found.is_empty() && reference["parameterNotFoundAction"] != "Allow" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(Params::Each(found))
}

fn find(request: &Request<'_>, kind: &Value, reference: &Value) -> Result<Vec<Value>, String> {
    let row = row(request, kind)?;
    let namespace = namespace_of(request, row.scope, reference)?;
    let collection = Collection::of(&row.group, &row.plural);
    let cache = &request.call.app.cache;
    let served = |stored: &Value| crate::convert::to_served(&row, stored).into_owned();
    if let Some(name) = reference["name"].as_str().filter(|name| !name.is_empty()) {
        let found = cache.get(&collection, &namespace, name);
        return Ok(found.iter().map(|item| served(item.value())).collect());
    }
    let selector =
        Labels::from_selector(&reference["selector"]).map_err(|status| status.message)?;
    let (items, _) = cache.collection(&collection).list(&namespace);
    let chosen = items.iter().filter(|item| selector.matches_object(item.value()));
    Ok(chosen.map(|item| served(item.value())).collect())
}

fn row(request: &Request<'_>, kind: &Value) -> Result<Arc<Kind>, String> {
    let registry = request.call.app.registry.load();
    let version = kind["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let served = registry.version(group, version);
    let row = served.and_then(|served| served.kinds.iter().find(|row| kind["kind"] == *row.kind));
    row.cloned().ok_or_else(|| {
        let text = |field: &str| kind[field].as_str().unwrap_or_default();
        format!(
            "failed to find resource referenced by paramKind: '{}, Kind={}'",
            text("apiVersion"),
            text("kind")
        )
    })
}

fn namespace_of(request: &Request<'_>, scope: Scope, reference: &Value) -> Result<String, String> {
    let named = reference["namespace"].as_str().unwrap_or_default();
    match scope {
        Scope::Cluster if !named.is_empty() => {
            Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into())
        }
        Scope::Cluster => Ok(String::new()),
        Scope::Namespaced if !named.is_empty() => Ok(named.to_owned()),
        Scope::Namespaced if request.namespace.is_empty() => Err(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                .into(),
        ),
        Scope::Namespaced => Ok(request.namespace.clone()),
    }
}
