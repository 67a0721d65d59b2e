//! OwnerReferencesPermissionEnforcement, off by default: whoever names an owner must be allowed to delete the object, and
//! whoever blocks the owner's deletion must be allowed to write the owner's finalizers.

use access::authz::Attributes;
use api::{Scope, Status};
use serde_json::Value;

use super::request::Request;

pub const NAME: &str = "OwnerReferencesPermissionEnforcement";

pub fn validate(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    let writes = request.is_create() || request.is_update();
    if !writes || !request.has_plugin(NAME) || owners(object) == owners(old) {
        return Ok(());
    }
    let may_delete = Attributes { verb: "delete".into(), ..request.attributes() };
    let decision = request.call.app.authorizer.authorize(&may_delete);
    if !decision.is_allowed() {
        let reason = decision.reason();
        let why = format!("cannot set an ownerRef on a resource you can't delete: {reason}, <nil>");
        return Err(request.refuse(object, &why));
    }
    for owner in newly_blocking(object, old) {
        check_blocking(request, object, &owner)?;
    }
    Ok(())
}

fn owners(object: &Value) -> Vec<Value> {
    object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default()
}

/// References that block their owner's deletion and did not before.
fn newly_blocking(object: &Value, old: &Value) -> Vec<Value> {
    let before = owners(old);
    let blocked = |uid: &Value| {
        before.iter().any(|one| one["uid"] == *uid && one["blockOwnerDeletion"] == true)
    };
    let mut all = owners(object);
    all.retain(|one| one["blockOwnerDeletion"] == true && !blocked(&one["uid"]));
    all
}

fn check_blocking(request: &Request<'_>, object: &Value, owner: &Value) -> Result<(), Status> {
    let version = owner["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let registry = request.call.app.registry.load();
    let kinds = registry.version(group, version).map(|served| &served.kinds);
    let kind = kinds.and_then(|kinds| kinds.iter().find(|kind| owner["kind"] == *kind.kind));
    let Some(kind) = kind else {
        let why = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for the owner's kind";
        return Err(request.refuse(object, why));
    };
    let namespaced = kind.scope == Scope::Namespaced;
    let wanted = Attributes {
        user: request.call.user.clone(),
        verb: "update".into(),
        group: kind.group.clone(),
        resource: kind.plural.clone(),
        subresource: "finalizers".into(),
        namespace: if namespaced { request.namespace.clone() } else { String::new() },
        name: owner["name"].as_str().unwrap_or_default().to_owned(),
        ..Attributes::default()
    };
    let decision = request.call.app.authorizer.authorize(&wanted);
    if decision.is_allowed() {
        return Ok(());
    }
    let why = format!(
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>",
        decision.reason()
    );
    Err(request.refuse(object, &why))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_new_blocks_are_judged() {
        let object = |list: Value| json!({"metadata": {"ownerReferences": list}});
        let blocking = json!([{"uid": "u", "blockOwnerDeletion": true}]);
        let plain = json!([{"uid": "u"}]);
        assert_eq!(newly_blocking(&object(blocking.clone()), &object(plain.clone())).len(), 1);
        assert!(newly_blocking(&object(blocking.clone()), &object(blocking)).is_empty());
        assert!(newly_blocking(&object(plain), &Value::Null).is_empty());
    }
}
