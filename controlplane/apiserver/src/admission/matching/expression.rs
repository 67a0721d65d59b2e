//! CEL over a request: what expressions see, and programs that are compiled once.

use std::{collections::HashMap, sync::Arc};

use access::{
    User,
    authz::{Attributes, Authorizer},
    names,
};
use expressions::{
    AccessDecision, AccessQuery, AccessTarget, Authorize, CompileError, Environment, ObjectType,
    Program, ResourceCheck, Type, Variables,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::equivalent::Matched;
use crate::admission::request::Request;

/// Compiled programs that are kept; all go when there are more.
const PROGRAMS_MAX: usize = 4096;

/// Programs of match conditions by their source.
#[derive(Default)]
pub struct Programs(Mutex<HashMap<String, Compiled>>);

type Compiled = Result<Arc<Program>, Arc<CompileError>>;

impl Programs {
    /// The program of a match condition.
    pub fn condition(&self, source: &str) -> Compiled {
        let mut known = self.0.lock();
        if let Some(program) = known.get(source) {
            return program.clone();
        }
        let environment = condition_environment();
        let compiled = Program::compile(source, &environment).map(Arc::new).map_err(Arc::new);
        if known.len() >= PROGRAMS_MAX {
            known.clear();
        }
        known.insert(source.to_owned(), compiled.clone());
        compiled
    }
}

/// What match conditions see.
#[must_use]
pub fn condition_environment() -> Environment {
    Environment::new()
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .variable("request", request_type())
        .authorizer()
        .request_resource()
}

/// Upstream `BuildRequestType`: the fields of an AdmissionRequest.
fn request_type() -> Type {
    let named = |name: &str, fields: Vec<(&str, Type)>| {
        let fields = fields.into_iter().map(|(name, of)| (name.to_owned(), of)).collect();
        Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields: Some(fields) }))
    };
    let texts = |name: &str, fields: [&'static str; 3]| {
        named(name, fields.into_iter().map(|field| (field, Type::String)).collect())
    };
    let kind = || texts("kubernetes.GroupVersionKind", ["group", "version", "kind"]);
    let resource = || texts("kubernetes.GroupVersionResource", ["group", "version", "resource"]);
    let user = named(
        "kubernetes.UserInfo",
        vec![
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    named(
        "kubernetes.AdmissionRequest",
        vec![
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", Type::String),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

/// The fields that AdmissionReviews and expressions share.
#[must_use]
pub fn request_fields(request: &Request<'_>, matched: &Matched) -> Value {
    let own = request.kind();
    let kind = |kind: &crate::admission::request::ObjectKind| json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let resource = |kind: &api::Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    let mut fields = json!({
        "kind": kind(&matched.object_kind),
        "resource": resource(&matched.kind),
        "requestKind": kind(&request.object_kind),
        "requestResource": resource(own),
        "operation": request.operation.as_str(),
        "userInfo": request.call.user.to_json(),
        "dryRun": request.dry_run,
    });
    for (field, text) in [
        ("subResource", request.subresource()),
        ("requestSubResource", request.subresource()),
        ("name", request.name.as_str()),
        ("namespace", request.namespace.as_str()),
    ] {
        if !text.is_empty() {
            fields[field] = json!(text);
        }
    }
    if !request.options.is_null() {
        fields["options"] = request.options.clone();
    }
    fields
}

/// The variables of one evaluation: objects in the terms of what matched.
#[must_use]
pub fn variables(request: &Request<'_>, matched: &Matched) -> Variables {
    let mut variables = Variables::new();
    for (name, object) in [("object", &matched.object), ("oldObject", &matched.old)] {
        variables.set(name, object);
    }
    variables.set("request", &request_fields(request, matched));
    let access = Arc::new(Access {
        authorizer: request.call.app.authorizer.clone(),
        user: request.call.user.clone(),
    });
    variables.set_authorizer(access.clone());
    let kind = request.kind();
    let check = ResourceCheck {
        group: kind.group.clone(),
        resource: kind.plural.clone(),
        subresource: request.subresource().to_owned(),
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        ..ResourceCheck::default()
    };
    variables.set_request_resource(access, check);
    variables
}

/// Answers `authorizer` questions.
struct Access {
    authorizer: Authorizer,
    user: User,
}

impl Authorize for Access {
    fn check(&self, query: &AccessQuery) -> AccessDecision {
        let user = match &query.service_account {
            None => self.user.clone(),
            Some((namespace, name)) => service_account(namespace, name),
        };
        let mut wanted = Attributes { user, verb: query.verb.clone(), ..Attributes::default() };
        match &query.target {
            AccessTarget::Path(path) => wanted.path.clone_from(path),
            AccessTarget::Resource(check) => {
                wanted.group.clone_from(&check.group);
                wanted.resource.clone_from(&check.resource);
                wanted.subresource.clone_from(&check.subresource);
                wanted.namespace.clone_from(&check.namespace);
                wanted.name.clone_from(&check.name);
            }
        }
        let decision = self.authorizer.authorize(&wanted);
        AccessDecision {
            allowed: decision.is_allowed(),
            reason: decision.reason().to_owned(),
            error: None,
        }
    }
}

fn service_account(namespace: &str, name: &str) -> User {
    let all = format!("{}:{namespace}", names::SERVICE_ACCOUNTS);
    let user = format!("{}{namespace}:{name}", names::SERVICE_ACCOUNT_PREFIX);
    User::new(user, &[names::SERVICE_ACCOUNTS, &all, names::AUTHENTICATED])
}
