//! Checks that depend on who writes: NodeRestriction, and that nobody grants more than they have.

use access::authz::Attributes;
use api::Status;
use serde_json::Value;

use super::request::{Operation, Request};

/// NodeRestriction.
pub fn admit(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    let call = request.call;
    if call.user.node().is_none() || request.operation == Operation::Connect {
        return Ok(());
    }
    let attributes = Attributes { verb: verb(request.operation).into(), ..request.attributes() };
    call.app.authorizer.check_node_write(&attributes, present(object), present(old))
}

/// The verb of an operation: an apply that creates is a creation, each deletion of a collection a deletion.
fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Connect => "connect",
    }
}

fn present(value: &Value) -> Option<&Value> {
    (!value.is_null()).then_some(value)
}

/// Escalation by roles and bindings.
pub fn validate(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    let kind = request.kind();
    if kind.group != "rbac.authorization.k8s.io" || object.is_null() {
        return Ok(());
    }
    let call = request.call;
    call.app.authorizer.check_escalation(&call.user, &kind.plural, object, present(old))
}
