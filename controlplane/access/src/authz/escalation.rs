//! Nobody grants what they do not have (upstream `registry/rbac/*/policybased/storage.go`).

use api::{Reason, Status};
use serde_json::Value;

use super::{
    Attributes, Authorizer, RBAC,
    cover::{describe, uncovered},
    forbidden::refuse,
    index::RoleRef,
    rules::{Rule, parse_rules},
};
use crate::{User, names};

pub(super) fn check(
    authorizer: &Authorizer,
    user: &User,
    resource: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if user.is_in(names::MASTERS) {
        return Ok(());
    }
    let write = Write { authorizer, user, resource, object };
    match resource {
        "roles" | "clusterroles" => write.check_role(old),
        "rolebindings" | "clusterrolebindings" => write.check_binding(old),
        _ => Ok(()),
    }
}

struct Write<'a> {
    authorizer: &'a Authorizer,
    user: &'a User,
    resource: &'a str,
    object: &'a Value,
}

impl Write<'_> {
    fn check_role(&self, old: Option<&Value>) -> Result<(), Status> {
        let is_same = old.is_some_and(|old| {
            same(&old["rules"], &self.object["rules"])
                && same(&old["aggregationRule"], &self.object["aggregationRule"])
        });
        if is_same || self.may("escalate", self.resource, api::meta::name(self.object)) {
            return Ok(());
        }
        if self.object["aggregationRule"].is_object() && !self.holds_everything() {
            let text = "must have cluster-admin privileges to use an aggregationRule";
            return Err(self.refuse(text));
        }
        self.check_covered(&parse_rules(&self.object["rules"]))
    }

    fn check_binding(&self, old: Option<&Value>) -> Result<(), Status> {
        let is_same = old.is_some_and(|old| {
            same(&old["roleRef"], &self.object["roleRef"])
                && same(&old["subjects"], &self.object["subjects"])
        });
        let role = RoleRef::of(&self.object["roleRef"], self.namespace());
        if is_same || self.may("bind", role.resource(), &role.name) {
            return Ok(());
        }
        let index = self.authorizer.indexer.current(self.authorizer.lookup.as_ref());
        let rules = index.role(&role).map_err(|text| Status {
            group: RBAC.into(),
            kind: role.resource().into(),
            name: role.name.clone(),
            ..Status::new(Reason::NotFound, text)
        })?;
        self.check_covered(rules)
    }

    fn namespace(&self) -> &str {
        if self.resource.starts_with("cluster") { "" } else { api::meta::namespace(self.object) }
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let wanted = Attributes {
            user: self.user.clone(),
            verb: verb.into(),
            group: RBAC.into(),
            resource: resource.into(),
            namespace: self.namespace().into(),
            name: name.into(),
            ..Attributes::default()
        };
        self.authorizer.authorize(&wanted).is_allowed()
    }

    fn held(&self) -> (Vec<Rule>, Vec<String>) {
        let index = self.authorizer.indexer.current(self.authorizer.lookup.as_ref());
        index.rules_of(self.user, self.namespace())
    }

    fn holds_everything(&self) -> bool {
        let all = || vec!["*".to_owned()];
        let everything = [
            Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
            Rule { verbs: all(), urls: all(), ..Rule::default() },
        ];
        uncovered(&self.held().0, &everything).is_some_and(|missing| missing.is_empty())
    }

    fn check_covered(&self, wanted: &[Rule]) -> Result<(), Status> {
        let (held, errors) = self.held();
        let missing = match uncovered(&held, wanted) {
            Some(missing) if missing.is_empty() => return Ok(()),
            Some(missing) => missing,
            None => return Err(self.refuse("the role has too many rules to compare")),
        };
        let lines: Vec<String> = missing.iter().map(describe).collect();
        let User { name, groups, .. } = self.user;
        let mut text = format!(
            "user {name:?} (groups={groups:?}) is attempting to grant RBAC permissions not currently held:\n{}",
            lines.join("\n")
        );
        if !errors.is_empty() {
            text.push_str(&format!("; resolution errors: [{}]", errors.join(", ")));
        }
        Err(self.refuse(&text))
    }

    fn refuse(&self, text: &str) -> Status {
        refuse(RBAC, self.resource, api::meta::name(self.object), text)
    }
}

/// An absent list is an empty one.
fn same(a: &Value, b: &Value) -> bool {
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    a == b || (is_empty(a) && is_empty(b))
}
