//! Do these rules grant at least what those grant? (upstream `component-helpers/auth/rbac/validation`)

use std::collections::BTreeMap;

use super::rules::{Rule, has};

/// How many single permissions a role may spell out before the comparison is refused.
const PERMISSIONS_MAX: usize = 100_000;

/// One verb on one resource or path; `name` "" means all names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Permission<'a> {
    Resource { group: &'a str, resource: &'a str, name: &'a str, verb: &'a str },
    Url { url: &'a str, verb: &'a str },
}

/// What of `wanted` is not in `held`, merged by resource; `None` when `wanted` is too large to compare.
pub(super) fn uncovered(held: &[Rule], wanted: &[Rule]) -> Option<Vec<Rule>> {
    if wanted.iter().map(count).fold(0, usize::saturating_add) > PERMISSIONS_MAX {
        return None;
    }
    let missing = wanted
        .iter()
        .flat_map(split)
        .filter(|permission| !held.iter().any(|rule| covers(rule, *permission)));
    Some(merge(missing))
}

fn count(rule: &Rule) -> usize {
    let resources = rule
        .groups
        .len()
        .saturating_mul(rule.resources.len())
        .saturating_mul(rule.names.len().max(1));
    resources.saturating_add(rule.urls.len()).saturating_mul(rule.verbs.len())
}

fn split(rule: &Rule) -> Vec<Permission<'_>> {
    let names = if rule.names.is_empty() {
        vec![""]
    } else {
        rule.names.iter().map(String::as_str).collect()
    };
    let mut permissions = Vec::new();
    for verb in &rule.verbs {
        for group in &rule.groups {
            for resource in &rule.resources {
                permissions.extend(names.iter().map(|&name| Permission::Resource {
                    group,
                    resource,
                    name,
                    verb,
                }));
            }
        }
        permissions.extend(rule.urls.iter().map(|url| Permission::Url { url, verb }));
    }
    permissions
}

fn covers(rule: &Rule, permission: Permission<'_>) -> bool {
    match permission {
        Permission::Resource { group, resource, name, verb } => {
            has(&rule.verbs, verb)
                && has(&rule.groups, group)
                && rule.resources.iter().any(|own| covers_resource(own, resource))
                && (rule.names.is_empty()
                    || rule.names.iter().any(|own| !name.is_empty() && own == name))
        }
        Permission::Url { url, verb } => {
            has(&rule.verbs, verb) && rule.urls.iter().any(|own| covers_url(own, url))
        }
    }
}

fn covers_resource(own: &str, wanted: &str) -> bool {
    own == "*"
        || own == wanted
        || matches!((own.split_once('/'), wanted.split_once('/')), (Some(("*", a)), Some((_, b))) if a == b)
}

fn covers_url(own: &str, wanted: &str) -> bool {
    own == wanted || own.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
}

fn merge<'a>(permissions: impl Iterator<Item = Permission<'a>>) -> Vec<Rule> {
    let mut by_object: BTreeMap<Permission<'a>, Vec<String>> = BTreeMap::new();
    for permission in permissions {
        let (key, verb) = match permission {
            Permission::Resource { group, resource, name, verb } => {
                (Permission::Resource { group, resource, name, verb: "" }, verb)
            }
            Permission::Url { url, verb } => (Permission::Url { url, verb: "" }, verb),
        };
        let verbs = by_object.entry(key).or_default();
        if !verbs.iter().any(|known| known == verb) {
            verbs.push(verb.to_owned());
        }
    }
    by_object.into_iter().map(|(permission, verbs)| to_rule(permission, verbs)).collect()
}

fn to_rule(permission: Permission<'_>, verbs: Vec<String>) -> Rule {
    match permission {
        Permission::Resource { group, resource, name, .. } => Rule {
            verbs,
            groups: vec![group.into()],
            resources: vec![resource.into()],
            names: (!name.is_empty()).then(|| name.to_owned()).into_iter().collect(),
            urls: Vec::new(),
        },
        Permission::Url { url, .. } => Rule { verbs, urls: vec![url.into()], ..Rule::default() },
    }
}

/// One line for people, as upstream prints rules in refusals.
pub(super) fn describe(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.urls),
        ("ResourceNames", &rule.names),
        ("Verbs", &rule.verbs),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(label, texts)| format!("{label}:{texts:?}"))
        .collect();
    format!("{{{}}}", parts.join(", "))
}
