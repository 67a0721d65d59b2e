//! Checks that depend on who writes: role escalation, NodeRestriction, and the requester of certificates.

use api::Status;
use serde_json::{Value, json};

use super::Operation;
use crate::call::Call;

pub fn check(
    call: &Call,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), Status> {
    let authorizer = &call.app.authorizer;
    if let Some(object) = object.filter(|_| call.kind.group == "rbac.authorization.k8s.io") {
        authorizer.check_escalation(&call.user, &call.kind.plural, object, old)?;
    }
    if call.user.node().is_none() {
        return Ok(());
    }
    let mut attributes = call.attributes();
    if let (Operation::Create, Some(object)) = (operation, object) {
        attributes.name = api::meta::name(object).to_owned();
    }
    authorizer.check_node_write(&attributes, object, old)
}

/// Fields of a CertificateSigningRequest that name who asked.
const REQUESTER: &[&str] = &["username", "uid", "groups", "extra"];

/// Writes the requester into a new CertificateSigningRequest.
pub fn stamp_request(call: &Call, request: &mut Value) {
    let Some(spec) = request["spec"].as_object_mut() else { return };
    for field in REQUESTER {
        spec.remove(*field);
    }
    if let Value::Object(user) = call.user.to_json() {
        spec.extend(user);
    }
    if let Some(fields) = request.as_object_mut() {
        fields.insert("status".into(), json!({}));
    }
}

/// The spec of a request never changes.
pub fn keep_requester(new: &mut Value, old: &Value) {
    new["spec"] = old["spec"].clone();
}
