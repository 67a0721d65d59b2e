//! Which policies apply to a request, by which bindings, with which parameters.

use std::sync::Arc;

use access::Lookup;
use api::{Scope, Status, meta};
use expressions::{Budget, Variables};
use serde_json::Value;

use super::{
    compiled::Compiled,
    params::{self, Params},
};
use crate::admission::{
    matching::{
        conditions::{self, Matching},
        equivalent::{self, Matched},
        expression, selectors,
    },
    request::Request,
};

const GROUP: &str = "admissionregistration.k8s.io";

/// One policy that a binding applies to the request, with one set of parameters.
pub struct Bound {
    pub policy: Arc<Value>,
    pub binding: Arc<Value>,
    pub matched: Matched,
    /// What `params` is; `None` where the policy has none.
    pub params: Option<Value>,
}

/// What is wrong before a policy could be asked.
pub struct Misconfigured {
    pub policy: Arc<Value>,
    pub binding: Arc<Value>,
    pub why: String,
}

/// A kind of policy: the resources of policies and bindings.
pub struct Sort {
    pub policies: &'static str,
    pub bindings: &'static str,
}

/// Policies and bindings do not govern themselves.
#[must_use]
pub fn is_exempt(request: &Request<'_>) -> bool {
    request.kind().group == GROUP
}

#[must_use]
pub fn ignores_failures(policy: &Value) -> bool {
    policy["spec"]["failurePolicy"] == "Ignore"
}

/// Everything bound to a request, in order of the policies' names.
pub fn all(
    request: &Request<'_>,
    sort: &Sort,
    object: &Value,
    old: &Value,
) -> Result<Vec<Result<Bound, Misconfigured>>, Status> {
    let cache = &*request.call.app.cache;
    let mut policies = Lookup::list(cache, GROUP, sort.policies, None);
    if policies.is_empty() {
        return Ok(Vec::new());
    }
    policies.sort_by(|a, b| meta::name(a).cmp(meta::name(b)));
    let mut bindings = Lookup::list(cache, GROUP, sort.bindings, None);
    bindings.sort_by(|a, b| meta::name(a).cmp(meta::name(b)));
    let mut found = Vec::new();
    for policy in policies {
        let constraints = &policy["spec"]["matchConstraints"];
        let Some(matched) = matches(request, constraints, true, object, old)? else { continue };
        let own = bindings.iter().filter(|one| one["spec"]["policyName"] == meta::name(&policy));
        for binding in own {
            let narrowed = &binding["spec"]["matchResources"];
            if matches(request, narrowed, false, object, old)?.is_some() {
                found.extend(with_params(request, &policy, binding, &matched));
            }
        }
    }
    Ok(found)
}

/// Whether `MatchResources` take the request in. Without rules a policy matches nothing, a binding everything.
fn matches(
    request: &Request<'_>,
    resources: &Value,
    needs_rules: bool,
    object: &Value,
    old: &Value,
) -> Result<Option<Matched>, Status> {
    if !selectors::namespace_matches(&resources["namespaceSelector"], request, object)?
        || !selectors::object_matches(&resources["objectSelector"], object, old)?
    {
        return Ok(None);
    }
    let equivalent = resources["matchPolicy"] != "Exact";
    if equivalent::excluded(request, &resources["excludeResourceRules"], equivalent) {
        return Ok(None);
    }
    let rules = &resources["resourceRules"];
    if !needs_rules && rules.as_array().is_none_or(Vec::is_empty) {
        return Ok(Some(equivalent::own(request)));
    }
    Ok(equivalent::find(request, rules, equivalent))
}

fn with_params(
    request: &Request<'_>,
    policy: &Arc<Value>,
    binding: &Arc<Value>,
    matched: &Matched,
) -> Vec<Result<Bound, Misconfigured>> {
    let bound = |params: Option<Value>| {
        let (policy, binding) = (policy.clone(), binding.clone());
        Ok(Bound { policy, binding, matched: matched.clone(), params })
    };
    match params::of(request, policy, binding) {
        Ok(Params::None) => vec![bound(None)],
        Ok(Params::Each(all)) => all.into_iter().map(|params| bound(Some(params))).collect(),
        Err(why) => {
            let (policy, binding) = (policy.clone(), binding.clone());
            vec![Err(Misconfigured { policy, binding, why })]
        }
    }
}

/// What the expressions of a bound policy see, once it has looked at the objects.
#[must_use]
pub fn variables(request: &Request<'_>, bound: &Bound, compiled: &Compiled) -> Variables {
    let mut variables = expression::variables(request, &bound.matched);
    variables.set("namespaceObject", &namespace_object(request));
    if let Some(params) = &bound.params {
        variables.set("params", params);
    }
    for (name, program) in &compiled.variables {
        if let Ok(program) = program {
            variables.compose(name, program.clone());
        }
    }
    variables
}

/// The namespace of the request; null for what has none and for Namespaces themselves.
fn namespace_object(request: &Request<'_>) -> Value {
    if request.namespace.is_empty() || request.kind().scope == Scope::Cluster {
        return Value::Null;
    }
    let cache = &*request.call.app.cache;
    let namespace = Lookup::get(cache, "", "namespaces", "", &request.namespace);
    namespace.map_or(Value::Null, |namespace| (*namespace).clone())
}

/// Whether the policy's match conditions hold; an error is why that is not known.
pub fn conditions_hold(
    compiled: &Compiled,
    variables: &Variables,
    budget: &mut Budget,
) -> Result<bool, String> {
    match conditions::evaluate(&compiled.conditions, variables, budget) {
        Matching::Yes => Ok(true),
        Matching::No(_) => Ok(false),
        Matching::Failed(why) => Err(why),
    }
}
