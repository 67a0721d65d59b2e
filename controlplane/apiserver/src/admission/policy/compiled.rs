//! A policy's expressions, compiled once per generation.

use std::{collections::HashMap, sync::Arc};

use api::meta;
use expressions::{Environment, Program, Type};
use parking_lot::Mutex;
use serde_json::Value;

use crate::admission::matching::{conditions::Condition, expression};

/// Policies that are kept compiled; all go when there are more.
const POLICIES_MAX: usize = 1024;

type Outcome = Result<Arc<Program>, String>;

/// One entry of `spec.validations`.
pub struct Validation {
    pub source: String,
    pub program: Outcome,
    pub message: String,
    pub message_program: Option<Outcome>,
    pub reason: String,
}

/// One entry of `spec.auditAnnotations`.
pub struct Annotation {
    pub key: String,
    pub program: Outcome,
}

/// One entry of `spec.mutations`.
pub struct Mutation {
    pub is_json_patch: bool,
    pub source: String,
    pub program: Outcome,
}

/// A policy ready to run.
pub struct Compiled {
    pub conditions: Vec<Condition>,
    /// `spec.variables` in order.
    pub variables: Vec<(String, Outcome)>,
    pub validations: Vec<Validation>,
    pub annotations: Vec<Annotation>,
    pub mutations: Vec<Mutation>,
}

/// Compiled policies by uid and generation.
#[derive(Default)]
pub struct Policies(Mutex<HashMap<(String, i64), Arc<Compiled>>>);

impl Policies {
    pub fn get(&self, policy: &Value) -> Arc<Compiled> {
        let generation = policy["metadata"]["generation"].as_i64().unwrap_or(0);
        let key = (meta::uid(policy).to_owned(), generation);
        if let Some(known) = self.0.lock().get(&key) {
            return known.clone();
        }
        let compiled = Arc::new(compile(policy));
        let mut all = self.0.lock();
        if all.len() >= POLICIES_MAX {
            all.clear();
        }
        all.insert(key, compiled.clone());
        compiled
    }
}

/// What the expressions of a policy see, without its variables.
pub fn environment(policy: &Value, object: Type) -> Environment {
    let mut environment = expression::condition_environment()
        .variable("object", object.clone())
        .variable("oldObject", object)
        .variable("namespaceObject", Type::Dyn);
    if policy["spec"]["paramKind"].is_object() {
        environment = environment.variable("params", Type::Dyn);
    }
    if policy["kind"] == "MutatingAdmissionPolicy" {
        environment = environment.mutation();
    }
    environment
}

fn build(source: &str, environment: &Environment) -> Outcome {
    Program::compile(source, environment).map(Arc::new).map_err(|error| error.to_string())
}

fn compile(policy: &Value) -> Compiled {
    let spec = &policy["spec"];
    let base = environment(policy, Type::Dyn);
    let (composed, variables) = variables(spec, base.clone());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |field: &str| spec[field].as_array().into_iter().flatten();
    let validations = list("validations").map(|one| Validation {
        source: text(&one["expression"]),
        program: build(&text(&one["expression"]), &composed),
        message: text(&one["message"]),
        message_program: one["messageExpression"]
            .as_str()
            .filter(|source| !source.is_empty())
            .map(|source| build(source, &composed)),
        reason: text(&one["reason"]),
    });
    let annotations = list("auditAnnotations").map(|one| Annotation {
        key: text(&one["key"]),
        program: build(&text(&one["valueExpression"]), &composed),
    });
    let mutations = list("mutations").map(|one| {
        let is_json_patch = one["patchType"] == "JSONPatch";
        let part = if is_json_patch { "jsonPatch" } else { "applyConfiguration" };
        let source = text(&one[part]["expression"]);
        Mutation { is_json_patch, program: build(&source, &composed), source }
    });
    Compiled {
        conditions: Condition::all(&spec["matchConditions"], |source| build(source, &base)),
        validations: validations.collect(),
        annotations: annotations.collect(),
        mutations: mutations.collect(),
        variables,
    }
}

/// Compiles variables in order: each sees those before it.
fn variables(spec: &Value, mut environment: Environment) -> (Environment, Vec<(String, Outcome)>) {
    let mut compiled = Vec::new();
    for variable in spec["variables"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        let program = build(variable["expression"].as_str().unwrap_or_default(), &environment);
        let of = program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone());
        environment = environment.composed(name, of);
        compiled.push((name.to_owned(), program));
    }
    (environment, compiled)
}
