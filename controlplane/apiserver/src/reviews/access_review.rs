//! SubjectAccessReview and its relatives.

use std::collections::BTreeMap;

use access::{
    User,
    authz::{Attributes, Decision},
};
use api::Status;
use serde_json::{Value, json};

use crate::{call::Call, errors};

pub fn subject(call: &Call, review: &mut Value) -> Result<(), Status> {
    let user = user_in(&review["spec"]);
    if user.name.is_empty() && user.groups.is_empty() {
        let problem = "Required value: at least one of user or group must be specified";
        return Err(errors::invalid(&call.kind, "", "spec.user", "FieldValueRequired", problem));
    }
    decide(call, review, user)
}

pub fn local(call: &Call, review: &mut Value) -> Result<(), Status> {
    let asked = review["spec"]["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
    if asked != call.target.namespace {
        let problem = "Invalid value: must match metadata.namespace";
        let field = "spec.resourceAttributes.namespace";
        return Err(errors::invalid(&call.kind, "", field, "FieldValueInvalid", problem));
    }
    subject(call, review)
}

pub fn own(call: &Call, review: &mut Value) -> Result<(), Status> {
    decide(call, review, call.user.clone())
}

pub fn rules(call: &Call, review: &mut Value) {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
    review["status"] = call.app.authorizer.rules(&call.user, namespace).status;
}

fn decide(call: &Call, review: &mut Value, user: User) -> Result<(), Status> {
    let spec = &review["spec"];
    let resource = spec.get("resourceAttributes").filter(|value| value.is_object());
    let path = spec.get("nonResourceAttributes").filter(|value| value.is_object());
    let attributes = match (resource, path) {
        (Some(resource), None) => resource_attributes(user, resource),
        (None, Some(path)) => Attributes {
            user,
            verb: text(path, "verb"),
            path: text(path, "path"),
            ..Attributes::default()
        },
        _ => {
            let problem = "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let field = "spec.resourceAttributes";
            return Err(errors::invalid(&call.kind, "", field, "FieldValueInvalid", problem));
        }
    };
    let (allowed, denied, reason) = match call.app.authorizer.authorize(&attributes) {
        Decision::Allow(reason) => (true, false, reason),
        Decision::Deny(reason) => (false, true, reason),
        Decision::NoOpinion(reason) => (false, false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if denied {
        status["denied"] = json!(true);
    }
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    review["status"] = status;
    Ok(())
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn resource_attributes(user: User, asked: &Value) -> Attributes {
    Attributes {
        user,
        verb: text(asked, "verb"),
        group: text(asked, "group"),
        resource: text(asked, "resource"),
        subresource: text(asked, "subresource"),
        namespace: text(asked, "namespace"),
        name: text(asked, "name"),
        path: String::new(),
        fields: fields_in(&asked["fieldSelector"]),
    }
}

/// Equalities of a review's `fieldSelector`: raw text, or requirements `In` with one value.
fn fields_in(selector: &Value) -> Vec<(String, String)> {
    if let Some(raw) = selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        return crate::call::equalities(raw);
    }
    let requirements = selector["requirements"].as_array().into_iter().flatten();
    requirements
        .filter(|one| one["operator"] == "In")
        .filter_map(|one| match one["values"].as_array()?.as_slice() {
            [value] => Some((text(one, "key"), value.as_str()?.to_owned())),
            _ => None,
        })
        .collect()
}

fn user_in(spec: &Value) -> User {
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra: BTreeMap<String, Vec<String>> = spec["extra"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.clone(), list(values)))
        .collect();
    User { name: text(spec, "user"), uid: text(spec, "uid"), groups: list(&spec["groups"]), extra }
}
