//! Questions to the authorizer (upstream `library/authz.go`). The server answers them through a trait.

use std::{fmt, sync::Arc};

use super::{Cost, Row, opaque, text};
use crate::{
    eval::Outcome,
    program::EvalError,
    value::{Opaque, Value},
};

/// Who answers. The user is the request's unless the query names a service account.
pub trait Authorize {
    fn check(&self, query: &AccessQuery) -> AccessDecision;
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessQuery {
    pub verb: String,
    /// Ask for this service account (namespace, name) instead of the request's user.
    pub service_account: Option<(String, String)>,
    pub target: AccessTarget,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessTarget {
    Path(String),
    Resource(ResourceCheck),
}

/// A resource as authorization sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceCheck {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessDecision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// A question under construction, or its answer.
#[derive(Clone)]
pub struct AccessHandle {
    authorize: Arc<dyn Authorize + Send + Sync>,
    service_account: Option<(String, String)>,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Root,
    Path(String),
    Group(String),
    Resource(ResourceCheck),
    Decision(AccessDecision),
}

impl fmt::Debug for AccessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.state)
    }
}

impl AccessHandle {
    pub(crate) fn root(authorize: Arc<dyn Authorize + Send + Sync>) -> Self {
        Self { authorize, service_account: None, state: State::Root }
    }

    pub(crate) fn resource(
        authorize: Arc<dyn Authorize + Send + Sync>,
        resource: ResourceCheck,
    ) -> Self {
        Self { authorize, service_account: None, state: State::Resource(resource) }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.state {
            State::Root => "kubernetes.authorization.Authorizer",
            State::Path(_) => "kubernetes.authorization.PathCheck",
            State::Group(_) => "kubernetes.authorization.GroupCheck",
            State::Resource(_) => "kubernetes.authorization.ResourceCheck",
            State::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    fn then(&self, state: State) -> Value {
        Value::opaque(Opaque::Access(Self { state, ..self.clone() }))
    }
}

const RESOURCE: &[&str] = &["resourcecheck.(string)->resourcecheck"];

pub(super) const ROWS: &[Row] = &[
    ("path", &["authorizer.(string)->pathcheck"], path, Cost::One),
    ("group", &["authorizer.(string)->groupcheck"], group, Cost::One),
    ("serviceAccount", &["authorizer.(string, string)->authorizer"], service_account, Cost::One),
    ("resource", &["groupcheck.(string)->resourcecheck"], resource, Cost::One),
    (
        "subresource",
        RESOURCE,
        |args| refine(args, |check, text| check.subresource = text),
        Cost::One,
    ),
    ("namespace", RESOURCE, |args| refine(args, |check, text| check.namespace = text), Cost::One),
    ("name", RESOURCE, |args| refine(args, |check, text| check.name = text), Cost::One),
    (
        "fieldSelector",
        RESOURCE,
        |args| refine(args, |check, text| check.field_selector = text),
        Cost::One,
    ),
    (
        "labelSelector",
        RESOURCE,
        |args| refine(args, |check, text| check.label_selector = text),
        Cost::One,
    ),
    (
        "check",
        &["pathcheck.(string)->decision", "resourcecheck.(string)->decision"],
        check,
        Cost::Access,
    ),
    ("allowed", &["decision.()->bool"], |args| Ok(Value::Bool(decision(args)?.allowed)), Cost::One),
    (
        "reason",
        &["decision.()->string"],
        |args| Ok(Value::text(&decision(args)?.reason)),
        Cost::One,
    ),
    (
        "errored",
        &["decision.()->bool"],
        |args| Ok(Value::Bool(decision(args)?.error.is_some())),
        Cost::One,
    ),
    (
        "error",
        &["decision.()->string"],
        |args| Ok(Value::text(decision(args)?.error.clone().unwrap_or_default())),
        Cost::One,
    ),
];

fn handle(arguments: &[Value]) -> Result<&AccessHandle, EvalError> {
    match opaque(arguments, 0)? {
        Opaque::Access(handle) => Ok(handle),
        _ => Err(EvalError::no_overload()),
    }
}

fn path(arguments: &[Value]) -> Outcome {
    let path = text(arguments, 1)?;
    if path.is_empty() {
        return Err(EvalError::failed("path must not be empty"));
    }
    Ok(handle(arguments)?.then(State::Path(path.to_owned())))
}

fn group(arguments: &[Value]) -> Outcome {
    Ok(handle(arguments)?.then(State::Group(text(arguments, 1)?.to_owned())))
}

fn service_account(arguments: &[Value]) -> Outcome {
    let mut handle = handle(arguments)?.clone();
    handle.service_account = Some((text(arguments, 1)?.to_owned(), text(arguments, 2)?.to_owned()));
    Ok(Value::opaque(Opaque::Access(handle)))
}

fn resource(arguments: &[Value]) -> Outcome {
    let handle = handle(arguments)?;
    let State::Group(group) = &handle.state else { return Err(EvalError::no_overload()) };
    let resource = text(arguments, 1)?.to_owned();
    Ok(handle.then(State::Resource(ResourceCheck {
        group: group.clone(),
        resource,
        ..ResourceCheck::default()
    })))
}

fn refine(arguments: &[Value], set: impl Fn(&mut ResourceCheck, String)) -> Outcome {
    let handle = handle(arguments)?;
    let State::Resource(check) = &handle.state else { return Err(EvalError::no_overload()) };
    let mut check = check.clone();
    set(&mut check, text(arguments, 1)?.to_owned());
    Ok(handle.then(State::Resource(check)))
}

fn check(arguments: &[Value]) -> Outcome {
    let handle = handle(arguments)?;
    let target = match &handle.state {
        State::Path(path) => AccessTarget::Path(path.clone()),
        State::Resource(check) => AccessTarget::Resource(check.clone()),
        _ => return Err(EvalError::no_overload()),
    };
    let verb = text(arguments, 1)?.to_owned();
    let query = AccessQuery { verb, service_account: handle.service_account.clone(), target };
    Ok(handle.then(State::Decision(handle.authorize.check(&query))))
}

fn decision(arguments: &[Value]) -> Result<&AccessDecision, EvalError> {
    match &handle(arguments)?.state {
        State::Decision(decision) => Ok(decision),
        _ => Err(EvalError::no_overload()),
    }
}
