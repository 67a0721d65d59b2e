//! `rules` of webhooks and `resourceRules` of policies against a request. Pure.
//! Upstream: `admission/plugin/webhook/predicates/rules/rules.go`.

use serde_json::Value;

use crate::admission::request::Operation;

/// What of a request a rule looks at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub operation: Operation,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// False for cluster-scoped objects and for Namespaces.
    pub is_namespaced: bool,
    pub name: &'a str,
}

/// Whether a rule is about a subject.
#[must_use]
pub fn matches(rule: &Value, subject: &Subject<'_>) -> bool {
    scope_matches(rule, subject)
        && lists(&rule["operations"], subject.operation.as_str())
        && lists(&rule["apiGroups"], subject.group)
        && lists(&rule["apiVersions"], subject.version)
        && resource_matches(&rule["resources"], subject)
        && name_matches(&rule["resourceNames"], subject.name)
}

fn lists(list: &Value, wanted: &str) -> bool {
    texts(list).any(|one| one == "*" || one == wanted)
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn scope_matches(rule: &Value, subject: &Subject<'_>) -> bool {
    match rule["scope"].as_str() {
        Some("Namespaced") => subject.is_namespaced,
        Some("Cluster") => !subject.is_namespaced,
        _ => true,
    }
}

fn resource_matches(list: &Value, subject: &Subject<'_>) -> bool {
    texts(list).any(|one| {
        let (resource, subresource) = one.split_once('/').unwrap_or((one, ""));
        (resource == "*" || resource == subject.resource)
            && (subresource == "*" || subresource == subject.subresource)
    })
}

/// Only policies have names in rules.
fn name_matches(list: &Value, name: &str) -> bool {
    let mut names = texts(list).peekable();
    names.peek().is_none() || names.any(|one| one == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_have_wildcards_and_subresources() {
        let pod = Subject {
            operation: Operation::Create,
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "",
            is_namespaced: true,
            name: "a",
        };
        let exec = Subject { subresource: "exec", operation: Operation::Connect, ..pod };
        let rule = |operations: &[&str], resources: &[&str], scope: &str| {
            json!({"operations": operations, "apiGroups": [""], "apiVersions": ["v1"],
                "resources": resources, "scope": scope})
        };
        for (rule, on_pod, on_exec) in [
            (rule(&["CREATE"], &["pods"], "*"), true, false),
            (rule(&["*"], &["pods"], "Namespaced"), true, false),
            (rule(&["*"], &["pods/*"], "*"), true, true),
            (rule(&["CONNECT"], &["pods/exec"], "*"), false, true),
            (rule(&["*"], &["*"], "*"), true, false),
            (rule(&["*"], &["*/*"], "*"), true, true),
            (rule(&["*"], &["*/exec"], "*"), false, true),
            (rule(&["*"], &["*/*"], "Cluster"), false, false),
            (rule(&["UPDATE"], &["*/*"], "*"), false, false),
        ] {
            assert_eq!((matches(&rule, &pod), matches(&rule, &exec)), (on_pod, on_exec), "{rule}");
        }
        let mut named = rule(&["*"], &["pods"], "*");
        named["resourceNames"] = json!(["b"]);
        assert!(!matches(&named, &pod));
        assert!(!matches(
            &json!({"apiGroups": ["apps"], "operations": ["*"], "apiVersions": ["*"], "resources": ["*"]}),
            &pod
        ));
    }
}
