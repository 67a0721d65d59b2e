//! Rules of webhooks and `MatchResources` of policies.

use api::{rules::problems::Problems, selector::Labels};
use serde_json::Value;

use super::{items, text};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// `MatchResources` at a path.
pub fn validate(resources: &Value, path: &str, needs_rules: bool, problems: &mut Problems) {
    if !resources.is_object() {
        if needs_rules {
            problems.required(path, "");
        }
        return;
    }
    check_selectors(resources, &format!("{path}."), problems);
    let policies = ["Equivalent", "Exact"];
    problems.check_choice(&format!("{path}.matchPolicy"), &resources["matchPolicy"], &policies);
    if needs_rules && resources["resourceRules"].as_array().is_none_or(Vec::is_empty) {
        problems.required(&format!("{path}.resourceRules"), "");
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in items(resources, field) {
            check_rule(rule, &format!("{path}.{field}[{index}]"), problems);
        }
    }
}

/// `namespaceSelector` and `objectSelector`; `prefix` ends with a dot.
pub fn check_selectors(owner: &Value, prefix: &str, problems: &mut Problems) {
    for field in ["namespaceSelector", "objectSelector"] {
        if owner[field].is_object()
            && let Err(status) = Labels::from_selector(&owner[field])
        {
            problems.invalid(&format!("{prefix}{field}"), &owner[field], &status.message);
        }
    }
}

/// `RuleWithOperations` at a path.
pub fn check_rule(rule: &Value, path: &str, problems: &mut Problems) {
    let operations = list(rule, "operations");
    let field = format!("{path}.operations");
    if operations.is_empty() {
        problems.required(&field, "");
    }
    if operations.len() > 1 && operations.contains(&"*") {
        let detail = "if '*' is present, must not specify other operations";
        problems.invalid(&field, &rule["operations"], detail);
    }
    for (index, operation) in items(rule, "operations") {
        problems.check_choice(&format!("{field}[{index}]"), operation, &OPERATIONS);
    }
    check_wildcard(rule, "apiGroups", "API groups", path, true, problems);
    check_wildcard(rule, "apiVersions", "API versions", path, false, problems);
    check_resources(rule, path, problems);
    let scopes = ["*", "Cluster", "Namespaced"];
    problems.check_choice(&format!("{path}.scope"), &rule["scope"], &scopes);
}

fn list<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    items(rule, field).filter_map(|(_, item)| item.as_str()).collect()
}

fn check_wildcard(
    rule: &Value,
    field: &str,
    what: &str,
    path: &str,
    may_be_empty: bool,
    problems: &mut Problems,
) {
    let values = list(rule, field);
    let at = format!("{path}.{field}");
    if values.is_empty() {
        problems.required(&at, "");
    }
    if values.len() > 1 && values.contains(&"*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        problems.invalid(&at, &rule[field], &detail);
    }
    for (index, value) in values.iter().enumerate() {
        if value.is_empty() && !may_be_empty {
            problems.required(&format!("{at}[{index}]"), "");
        }
    }
}

fn check_resources(rule: &Value, path: &str, problems: &mut Problems) {
    let at = format!("{path}.resources");
    let resources = list(rule, "resources");
    if resources.is_empty() {
        problems.required(&at, "");
    }
    let all = resources.contains(&"*/*");
    if all && resources.len() > 1 {
        let detail = "if '*/*' is present, must not specify other resources";
        problems.invalid(&at, &rule["resources"], detail);
    }
    for (index, resource) in resources.iter().enumerate() {
        let own = format!("{at}[{index}]");
        if resource.is_empty() {
            problems.required(&own, "");
            continue;
        }
        if *resource == "*/*" {
            continue;
        }
        let (parent, sub) = resource.split_once('/').unwrap_or((resource, ""));
        if sub == "*" && resources.iter().any(|one| is_other_sub(one, parent, resource)) {
            let detail = format!(
                "if '{parent}/*' is present, must not specify other subresources of '{parent}'"
            );
            problems.invalid_text(&own, resource, &detail);
        }
        if parent == "*"
            && !sub.is_empty()
            && resources.iter().any(|one| is_other_parent(one, sub, resource))
        {
            let detail =
                format!("if '*/{sub}' is present, must not specify {sub} of other resources");
            problems.invalid_text(&own, resource, &detail);
        }
    }
}

fn is_other_sub(one: &str, parent: &str, own: &str) -> bool {
    one != own && one.split_once('/').is_some_and(|(first, _)| first == parent)
}

fn is_other_parent(one: &str, sub: &str, own: &str) -> bool {
    one != own && one.split_once('/').is_some_and(|(_, second)| second == sub)
}

/// `failurePolicy` is one of two.
pub fn check_failure_policy(owner: &Value, path: &str, problems: &mut Problems) {
    problems.check_choice(path, &owner["failurePolicy"], &["Fail", "Ignore"]);
}

/// Reinvocation is one of two.
pub fn check_reinvocation(owner: &Value, path: &str, problems: &mut Problems) {
    if !text(owner, "reinvocationPolicy").is_empty() {
        problems.check_choice(path, &owner["reinvocationPolicy"], &["IfNeeded", "Never"]);
    }
}
