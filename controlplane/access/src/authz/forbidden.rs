//! The 403 in upstream's words (`apiserver/pkg/endpoints/handlers/responsewriters/errors.go`).

use api::{Reason, Status};

use super::Attributes;

/// The 403 in upstream's words; `reason` may be empty.
#[must_use]
pub fn forbidden(attributes: &Attributes, reason: &str) -> Status {
    let mut text = describe(attributes);
    if !reason.is_empty() {
        text = format!("{text}: {reason}");
    }
    refuse(&attributes.group, &attributes.resource, &attributes.name, &text)
}

/// A 403 about one resource: `pods "x" is forbidden: <text>`.
pub(super) fn refuse(group: &str, resource: &str, name: &str, text: &str) -> Status {
    let qualified =
        if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let message = match (resource, name) {
        ("", _) => format!("forbidden: {text}"),
        (_, "") => format!("{qualified} is forbidden: {text}"),
        _ => format!("{qualified} {name:?} is forbidden: {text}"),
    };
    Status {
        group: group.into(),
        kind: resource.into(),
        name: name.into(),
        ..Status::new(Reason::Forbidden, message)
    }
}

fn describe(attributes: &Attributes) -> String {
    let Attributes { user, verb, group, resource, subresource, namespace, path, .. } = attributes;
    let user = &user.name;
    if resource.is_empty() {
        return format!("User {user:?} cannot {verb} path {path:?}");
    }
    let resource =
        if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") };
    let scope = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {namespace:?}")
    };
    format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}")
}
