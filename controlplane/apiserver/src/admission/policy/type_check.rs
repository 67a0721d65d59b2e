//! `status.typeChecking`: a policy's expressions against the schemas of the built-in kinds that its rules name.
//! Upstream: `admission/plugin/policy/validating/typechecking.go`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    Kind,
    schema::{self, Field, Shape},
};
use expressions::{ObjectType, Type};
use serde_json::{Value, json};

use super::check::check_expressions;

/// Kinds that one policy is checked against, as upstream.
const KINDS_MAX: usize = 10;
/// How deep the types of a kind are built; below that anything goes.
const DEPTH_MAX: usize = 8;

/// `expressionWarnings` for a policy: one per expression, each naming every kind that it does not fit.
#[must_use]
pub fn warnings(policy: &Value, kinds: &[Arc<Kind>]) -> Vec<Value> {
    let mut by_field: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in named(policy, kinds).into_iter().take(KINDS_MAX) {
        let object = of_message(&kind.schema, DEPTH_MAX);
        for complaint in check_expressions(policy, object) {
            let detail = complaint.detail.trim_start_matches("compilation failed: ");
            let text = format!("{}, Kind={}: {detail}\n", kind.api_version(), kind.kind);
            by_field.entry(complaint.field).or_default().push(text);
        }
    }
    let all = by_field.into_iter();
    all.map(|(field, texts)| json!({"fieldRef": field, "warning": texts.join("\n")})).collect()
}

/// Built-in kinds that the rules name without wildcards.
fn named<'a>(policy: &Value, kinds: &'a [Arc<Kind>]) -> Vec<&'a Arc<Kind>> {
    let rules = policy["spec"]["matchConstraints"]["resourceRules"].as_array();
    let mut found: Vec<&Arc<Kind>> = Vec::new();
    for rule in rules.into_iter().flatten() {
        let has = |field: &str, wanted: &str| {
            rule[field].as_array().is_some_and(|list| list.iter().any(|one| one == wanted))
        };
        for kind in kinds.iter().filter(|kind| !kind.schema.is_empty()) {
            let fits = has("apiGroups", &kind.group)
                && has("apiVersions", &kind.version)
                && has("resources", &kind.plural);
            if fits && !found.iter().any(|one| Arc::ptr_eq(one, kind)) {
                found.push(kind);
            }
        }
    }
    found
}

/// The type of a message of the schema table.
fn of_message(name: &str, depth: usize) -> Type {
    let Some(message) = schema::message(name).filter(|_| depth > 0) else { return Type::Dyn };
    let mut fields: BTreeMap<String, Type> = message
        .json_fields()
        .map(|field| (field.name.to_owned(), of_field(field, depth - 1)))
        .collect();
    if message.is_kind {
        fields.insert("apiVersion".into(), Type::String);
        fields.insert("kind".into(), Type::String);
    }
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields: Some(fields) }))
}

fn of_field(field: &Field, depth: usize) -> Type {
    let one = match field.kind {
        schema::Type::Message(_) => {
            field.message().map_or(Type::Dyn, |message| of_message(&message.name, depth))
        }
        schema::Type::Text => Type::String,
        schema::Type::Bool => Type::Bool,
        schema::Type::Int32 | schema::Type::Int64 => Type::Int,
        _ => Type::Dyn,
    };
    match field.shape {
        Shape::One => one,
        Shape::List => Type::list(one),
        Shape::Map => Type::map(Type::String, one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_checked_against_the_kinds_they_see() {
        let kinds: Vec<Arc<Kind>> = api::kinds().into_iter().map(Arc::new).collect();
        let policy = |expression: &str| {
            json!({"kind": "ValidatingAdmissionPolicy", "spec": {
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]},
                "validations": [{"expression": expression}]}})
        };
        assert_eq!(warnings(&policy("object.spec.replicas > 1"), &kinds), Vec::<Value>::new());
        let found = warnings(&policy("object.spec.replicas == 'a'"), &kinds);
        assert_eq!(found[0]["fieldRef"], "spec.validations[0].expression");
        let text = found[0]["warning"].as_str().unwrap();
        assert!(text.starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:"), "{text}");
        let found = warnings(&policy("object.spec.replicaz == 1"), &kinds);
        assert!(found[0]["warning"].as_str().unwrap().contains("undefined field"), "{found:?}");
    }
}
