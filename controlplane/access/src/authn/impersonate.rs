//! Acting as another user (upstream `apiserver/pkg/endpoints/filters/impersonation`).

use std::collections::BTreeMap;

use api::{Reason, Status};
use http::HeaderMap;
use percent_encoding::percent_decode_str;

use crate::{User, authz::Attributes, names};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// A user that another one acts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonation {
    pub user: User,
    /// What the real user must be allowed before `user` takes effect: all of them.
    pub checks: Vec<Attributes>,
}

/// Reads the `Impersonate-*` headers; `None` without them.
pub fn impersonation(real: &User, headers: &HeaderMap) -> Result<Option<Impersonation>, Status> {
    let asked = read_headers(headers);
    if asked == User::default() {
        return Ok(None);
    }
    if asked.name.is_empty() {
        let text =
            "requested to impersonate groups, a uid or extra values without impersonating a user";
        return Err(Status::new(Reason::InternalError, format!("Internal Server Error: {text}")));
    }
    let checks = checks(real, &asked);
    Ok(Some(Impersonation { user: complete(asked), checks }))
}

fn read_headers(headers: &HeaderMap) -> User {
    let texts = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let first = |name: &str| texts(name).into_iter().next().unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
            extra.entry(key).or_default().extend(texts(name.as_str()));
        }
    }
    User { name: first(USER), uid: first(UID), groups: texts(GROUP), extra }
}

fn checks(real: &User, asked: &User) -> Vec<Attributes> {
    let check = |group: &str, resource: &str, subresource: &str, name: &str| Attributes {
        user: real.clone(),
        verb: "impersonate".into(),
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        name: name.into(),
        ..Attributes::default()
    };
    let mut checks = vec![match asked.service_account() {
        Some((namespace, name)) => {
            Attributes { namespace: namespace.into(), ..check("", "serviceaccounts", "", name) }
        }
        None => check("", "users", "", &asked.name),
    }];
    checks.extend(asked.groups.iter().map(|group| check("", "groups", "", group)));
    if !asked.uid.is_empty() {
        checks.push(check(AUTHENTICATION_GROUP, "uids", "", &asked.uid));
    }
    for (key, values) in &asked.extra {
        checks.extend(
            values.iter().map(|value| check(AUTHENTICATION_GROUP, "userextras", key, value)),
        );
    }
    checks
}

/// Adds the groups that the name implies.
fn complete(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, _)) = user.service_account()
    {
        user.groups = vec![
            names::SERVICE_ACCOUNTS.into(),
            format!("{}:{namespace}", names::SERVICE_ACCOUNTS),
        ];
    }
    let implied =
        if user.name == names::ANONYMOUS { names::UNAUTHENTICATED } else { names::AUTHENTICATED };
    if !user.is_in(names::AUTHENTICATED) && !user.is_in(names::UNAUTHENTICATED) {
        user.groups.push(implied.into());
    }
    user
}
