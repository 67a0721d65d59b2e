//! The webhooks that a request is for.

use access::Lookup;
use api::{Status, meta};
use expressions::Budget;
use serde_json::Value;

use crate::admission::{
    matching::{
        conditions::{self, Condition, Matching},
        equivalent::{self, Matched},
        expression, selectors,
    },
    request::Request,
};

pub const GROUP: &str = "admissionregistration.k8s.io";

/// One webhook of one configuration.
pub struct Hook {
    pub configuration: String,
    pub webhook: Value,
}

impl Hook {
    #[must_use]
    pub fn name(&self) -> &str {
        self.webhook["name"].as_str().unwrap_or_default()
    }

    /// Tells webhooks of one name in several configurations apart.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.configuration, self.name())
    }

    #[must_use]
    pub fn ignores_failures(&self) -> bool {
        self.webhook["failurePolicy"] == "Ignore"
    }

    #[must_use]
    pub fn is_reinvoked(&self) -> bool {
        self.webhook["reinvocationPolicy"] == "IfNeeded"
    }

    /// Whether it may be asked about a dry run.
    #[must_use]
    pub fn has_no_side_effects(&self) -> bool {
        matches!(self.webhook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun"))
    }
}

/// All webhooks of a kind of configuration, in order of the configurations' names.
#[must_use]
pub fn all(request: &Request<'_>, resource: &str) -> Vec<Hook> {
    let cache = &*request.call.app.cache;
    let mut configurations = Lookup::list(cache, GROUP, resource, None);
    configurations.sort_by(|a, b| meta::name(a).cmp(meta::name(b)));
    let hooks = configurations.iter().flat_map(|configuration| {
        let name = meta::name(configuration).to_owned();
        let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
        webhooks.map(move |webhook| Hook { configuration: name.clone(), webhook: webhook.clone() })
    });
    hooks.collect()
}

/// What configures admission is itself out of its reach, or a webhook could make its own removal impossible.
#[must_use]
pub fn is_exempt(request: &Request<'_>) -> bool {
    request.kind().group == GROUP
}

/// In whose terms a webhook is to be called about a request; `None` when it is not.
pub async fn matched(
    request: &Request<'_>,
    hook: &Hook,
    object: &Value,
    old: &Value,
) -> Result<Option<Matched>, Status> {
    let webhook = &hook.webhook;
    if !selectors::namespace_matches(&webhook["namespaceSelector"], request, object)?
        || !selectors::object_matches(&webhook["objectSelector"], object, old)?
    {
        return Ok(None);
    }
    let equivalent = webhook["matchPolicy"] != "Exact";
    let Some(mut matched) = equivalent::find(request, &webhook["rules"], equivalent) else {
        return Ok(None);
    };
    matched.look(request, object, old).await?;
    if condition_holds(request, hook, &matched)? {
        return Ok(Some(matched));
    }
    Ok(None)
}

fn condition_holds(request: &Request<'_>, hook: &Hook, matched: &Matched) -> Result<bool, Status> {
    let list = &hook.webhook["matchConditions"];
    if list.as_array().is_none_or(Vec::is_empty) {
        return Ok(true);
    }
    let programs = &request.call.app.admission.programs;
    let conditions = Condition::all(list, |source| {
        programs.condition(source).map_err(|error| error.to_string())
    });
    let variables = expression::variables(request, matched);
    match conditions::evaluate(&conditions, &variables, &mut Budget::default()) {
        Matching::Yes => Ok(true),
        Matching::No(_) => Ok(false),
        Matching::Failed(error) if hook.ignores_failures() => {
            tracing::warn!(webhook = hook.name(), error, "match conditions failed, failing open");
            Ok(false)
        }
        Matching::Failed(error) => Err(request.refuse(&matched.object, &error)),
    }
}
