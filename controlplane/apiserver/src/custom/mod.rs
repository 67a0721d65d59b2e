//! CustomResourceDefinitions: rows of the table of kinds made at run time, and the rules of their objects.

mod cleanup;
mod conditions;
pub mod conversion;
mod definition;
mod extent;
mod row;
mod rules;
pub mod scale;
mod typed;

use std::sync::{Arc, OnceLock};

use api::{
    Kind,
    rules::problems::Problems,
    status::Cause,
    structural::{self, Custom},
};
use serde_json::Value;

use crate::{
    app::App,
    cache::{Cache, Interest},
    commit::{self, Next, Place},
    devices,
    keys::Collection,
    registry::Registry,
};

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A custom resource's CEL rules, compiled when first needed.
#[derive(Debug)]
pub struct LazyRules {
    custom: Arc<Custom>,
    compiled: OnceLock<rules::Rules>,
}

impl LazyRules {
    fn get(&self) -> &rules::Rules {
        self.compiled.get_or_init(|| rules::compile(&self.custom.schema, true))
    }
}

/// The registry of everything built in plus what the CRDs in the cache define. Schemas and rules that did not change
/// are taken from the one before.
#[must_use]
pub fn registry(cache: &Cache, before: Option<&Registry>) -> Registry {
    let (definitions, _) = cache.collection(&Collection::of(GROUP, RESOURCE)).list("");
    let mut kinds = api::kinds();
    kinds.extend(crate::metrics_api::kinds());
    let known = |group: &str, version: &str, plural: &str| {
        before?.find(group, version, plural)?.custom.clone()
    };
    let custom: Vec<Kind> =
        definitions.iter().flat_map(|item| row::rows(item.value(), &known)).collect();
    kinds.extend(custom.iter().cloned());
    let mut registry = Registry::new(kinds);
    for kind in &custom {
        let Some(custom) = kind.custom.clone() else { continue };
        let kept = before.and_then(|before| before.custom_rules(kind));
        let kept = kept.filter(|rules| Arc::ptr_eq(&rules.custom, &custom));
        let rules =
            kept.unwrap_or_else(|| Arc::new(LazyRules { custom, compiled: OnceLock::new() }));
        registry.set_custom_rules(kind, rules);
    }
    registry
}

/// Removes unknown fields of a custom resource's body; their paths, or what is wrong with its metadata.
pub fn prune(custom: &Custom, object: &mut Value) -> Result<Vec<String>, String> {
    api::schema::check_types(OBJECT_META, &object["metadata"])?;
    Ok(structural::prune(&custom.schema, object))
}

/// Defaults of custom resources, and of definitions themselves.
pub fn set_defaults(kind: &Kind, object: &mut Value) {
    if let Some(custom) = &kind.custom {
        structural::drop_nulls(&custom.schema, object);
        structural::set_defaults(&custom.schema, object);
    } else if is_definition(kind) {
        definition::set_defaults(object);
    }
}

/// A stored object as a version serves it: `apiVersion` is set by the caller.
pub fn rewrite(custom: &Custom, object: &mut Value) {
    structural::prune(&custom.schema, object);
    structural::drop_nulls(&custom.schema, object);
    structural::set_defaults(&custom.schema, object);
}

fn is_definition(kind: &Kind) -> bool {
    kind.group == GROUP && kind.plural == RESOURCE
}

/// All problems of any object: those of its kind, its definition, of the definition that it is, or of its expressions.
#[must_use]
pub fn validate(app: &App, kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = api::rules::validate(kind, new, old);
    causes.extend(defined_problems(app, kind, new, old));
    causes
}

/// The same of a write of the status subresource.
#[must_use]
pub fn validate_status(app: &App, kind: &Kind, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = api::rules::validate_status(kind, new, old);
    causes.extend(defined_problems(app, kind, new, Some(old)));
    causes
}

fn defined_problems(app: &App, kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut problems = Problems::default();
    if let Some(custom) = &kind.custom {
        validate_object(app, kind, custom, new, old, &mut problems);
    } else if is_definition(kind) {
        definition::validate(new, old, &mut problems);
    } else {
        devices::validate(kind, new, old, &mut problems);
    }
    problems.into_causes()
}

fn validate_object(
    app: &App,
    kind: &Kind,
    custom: &Custom,
    new: &Value,
    old: Option<&Value>,
    problems: &mut Problems,
) {
    structural::embedded_problems(&custom.schema, new, "", problems);
    structural::validate(&custom.schema, new, old, problems);
    // Rules may rely on types.
    if !problems.is_empty() || !custom.schema.has_rules {
        return;
    }
    if let Some(compiled) = app.registry.load().custom_rules(kind) {
        rules::validate(compiled.get(), &custom.schema, new, old, problems);
    }
}

/// Keeps the registry and the definitions' conditions up to date until shutdown.
pub async fn follow(app: Arc<App>) {
    let cleanups = cleanup::Cleanups::default();
    loop {
        let cached = app.cache.collection(&Collection::of(GROUP, RESOURCE));
        let (_, _, mut subscription) = cached.subscribe_now(Interest::default());
        refresh(&app);
        settle(&app, &cleanups).await;
        loop {
            let event = tokio::select! {
                biased;
                () = app.shutdown.cancelled() => return,
                event = subscription.future.recv() => event,
            };
            // Cut off: start over from what is there.
            if event.is_none() {
                break;
            }
            // Whatever else has happened meanwhile is seen at once.
            while subscription.future.try_recv().is_ok() {}
            refresh(&app);
            settle(&app, &cleanups).await;
        }
    }
}

fn refresh(app: &App) {
    let before = app.registry.load_full();
    app.registry.store(Arc::new(registry(&app.cache, Some(&before))));
}

/// Brings the status of every definition up to date. A name that became free may let another one in.
async fn settle(app: &Arc<App>, cleanups: &cleanup::Cleanups) {
    let cached = app.cache.collection(&Collection::of(GROUP, RESOURCE));
    let (items, _) = cached.list("");
    for item in &items {
        let definition = item.value();
        if definition["metadata"].get("deletionTimestamp").is_some() {
            cleanups.start(app, definition);
            continue;
        }
        let (now, _) = cached.list("");
        let others: Vec<&Value> = now.iter().map(|item| &**item.value()).collect();
        if conditions::accepted(definition, &others).is_none() {
            continue;
        }
        change(app, definition, |current| match conditions::accepted(current, &others) {
            Some(accepted) => Next::Put(accepted),
            None => Next::Keep,
        })
        .await;
    }
}

/// Writes a definition's status, finalizers included.
async fn change(app: &App, definition: &Value, decide: impl Fn(&Value) -> Next) {
    let registry = app.registry.load_full();
    let Some(kind) = registry.find(GROUP, "v1", RESOURCE) else { return };
    let kind: Kind = (**kind).clone();
    let name = api::meta::name(definition);
    let place = Place::new(&kind, "", name);
    let written =
        commit::update(app, &kind, &place, false, |current| Ok(decide(current.value()))).await;
    if let Err(status) = written
        && status.reason != api::Reason::NotFound
    {
        tracing::warn!(%status, definition = name, "failed to write a definition's status");
    }
}
