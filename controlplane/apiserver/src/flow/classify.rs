//! Which FlowSchema a request belongs to. Pure; rules of upstream `util/flowcontrol/rule.go`.

use std::hash::{DefaultHasher, Hash, Hasher};

use access::User;

use super::config::{Distinguisher, PathRule, ResourceRule, Rule, Schema, Subject};
use crate::asked::Asked;

const ALL: &str = "*";

/// The place of the first schema that matches; `schemas` are in order of precedence.
#[must_use]
pub fn find(schemas: &[Schema], asked: &Asked<'_>) -> Option<usize> {
    schemas.iter().position(|schema| schema.rules.iter().any(|rule| matches(rule, asked)))
}

/// Orders schemas as they are tried: precedence, then name.
pub fn sort(schemas: &mut [Schema]) {
    schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
}

/// What tells this flow from the others of its level.
#[must_use]
pub fn flow_hash(schema: &Schema, asked: &Asked<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    schema.name.hash(&mut hasher);
    match schema.distinguisher {
        Distinguisher::None => {}
        Distinguisher::User => asked.user.name.hash(&mut hasher),
        Distinguisher::Namespace => asked.namespace.hash(&mut hasher),
    }
    hasher.finish()
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|own| own == ALL || own == text)
}

fn matches(rule: &Rule, asked: &Asked<'_>) -> bool {
    if !rule.subjects.iter().any(|subject| is_subject(subject, asked.user)) {
        return false;
    }
    if asked.resource.is_empty() {
        rule.paths.iter().any(|path| is_path(path, asked))
    } else {
        rule.resources.iter().any(|resource| is_resource(resource, asked))
    }
}

fn is_subject(subject: &Subject, user: &User) -> bool {
    match subject {
        Subject::User(name) => name == ALL || *name == user.name,
        Subject::Group(name) => name == ALL || user.is_in(name),
        Subject::ServiceAccount { namespace, name } => user
            .service_account()
            .is_some_and(|own| own.0 == namespace && (name == ALL || own.1 == name)),
    }
}

fn is_resource(rule: &ResourceRule, asked: &Asked<'_>) -> bool {
    let resource = if asked.subresource.is_empty() {
        asked.resource.to_owned()
    } else {
        format!("{}/{}", asked.resource, asked.subresource)
    };
    let place = if asked.namespace.is_empty() {
        rule.cluster_scope
    } else {
        has(&rule.namespaces, asked.namespace)
    };
    place
        && has(&rule.verbs, asked.verb)
        && has(&rule.groups, asked.group)
        && has(&rule.resources, &resource)
}

fn is_path(rule: &PathRule, asked: &Asked<'_>) -> bool {
    let under = |own: &str| {
        own == ALL
            || own == asked.path
            || own.strip_suffix("/*").is_some_and(|prefix| {
                asked.path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
            })
    };
    has(&rule.verbs, asked.verb) && rule.paths.iter().any(|own| under(own))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{config, defaults},
        *,
    };

    fn schemas() -> Vec<Schema> {
        let mut schemas: Vec<Schema> = defaults::objects()
            .iter()
            .filter(|object| object["kind"] == "FlowSchema")
            .map(config::schema)
            .collect();
        sort(&mut schemas);
        schemas
    }

    #[test]
    fn the_default_schemas_catch_who_they_are_for() {
        let schemas = schemas();
        let all = ["system:authenticated"];
        let node = User::new("system:node:n", &["system:nodes", "system:authenticated"]);
        let account = |ns: &str| {
            let group = format!("system:serviceaccounts:{ns}");
            User::new(
                format!("system:serviceaccount:{ns}:x"),
                &["system:serviceaccounts", &group, "system:authenticated"],
            )
        };
        for (user, verb, group, resource, namespace, path, expect) in [
            (
                User::new("admin", &["system:masters", "system:authenticated"]),
                "list",
                "",
                "pods",
                "",
                "",
                "exempt",
            ),
            (User::anonymous(), "get", "", "", "", "/healthz", "probes"),
            (User::anonymous(), "get", "", "", "", "/version", "global-default"),
            (User::new("jane", &all), "list", "", "pods", "a", "", "global-default"),
            (node.clone(), "list", "", "pods", "", "", "system-nodes"),
            (
                node.clone(),
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-node-lease",
                "",
                "system-node-high",
            ),
            (node, "get", "", "nodes", "", "", "system-node-high"),
            (
                User::new("system:kube-scheduler", &all),
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-system",
                "",
                "system-leader-election",
            ),
            (
                User::new("system:kube-scheduler", &all),
                "list",
                "",
                "pods",
                "",
                "",
                "kube-scheduler",
            ),
            (
                User::new("system:kube-controller-manager", &all),
                "list",
                "",
                "pods",
                "",
                "",
                "kube-controller-manager",
            ),
            (account("kube-system"), "list", "", "pods", "", "", "kube-system-service-accounts"),
            (account("shop"), "list", "", "pods", "", "", "service-accounts"),
            (
                account("shop"),
                "update",
                "coordination.k8s.io",
                "leases",
                "shop",
                "",
                "workload-leader-election",
            ),
            (User::new("nobody", &["x"]), "list", "", "pods", "", "", ""),
        ] {
            let asked = Asked {
                user: &user,
                verb,
                group,
                resource,
                subresource: "",
                namespace,
                name: "",
                path,
            };
            let found = find(&schemas, &asked).map_or("", |at| &schemas[at].name);
            assert_eq!(found, expect, "{} {verb} {resource}{path}", user.name);
        }
    }

    #[test]
    fn flows_are_told_apart_as_the_schema_says() {
        let schemas = schemas();
        let by_name = |name: &str| schemas.iter().find(|schema| schema.name == name).unwrap();
        let (jane, joe) = (User::new("jane", &[]), User::new("joe", &[]));
        let asked = |user, namespace| Asked {
            user,
            verb: "list",
            group: "",
            resource: "pods",
            subresource: "",
            namespace,
            name: "",
            path: "",
        };
        let (user, place) = (by_name("global-default"), by_name("kube-scheduler"));
        assert_ne!(flow_hash(user, &asked(&jane, "a")), flow_hash(user, &asked(&joe, "a")));
        assert_eq!(flow_hash(user, &asked(&jane, "a")), flow_hash(user, &asked(&jane, "b")));
        assert_eq!(flow_hash(place, &asked(&jane, "a")), flow_hash(place, &asked(&joe, "a")));
        assert_ne!(flow_hash(place, &asked(&jane, "a")), flow_hash(place, &asked(&jane, "b")));
    }
}
