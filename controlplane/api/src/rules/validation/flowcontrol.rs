//! FlowSchemas and PriorityLevelConfigurations.

use serde_json::{Value, json};

use super::{items, require_text, text};
use crate::rules::names;
use crate::rules::problems::Problems;

/// The name of the schema that is asked first and of the level that is not limited.
const EXEMPT: &str = "exempt";
/// The name of the schema that is asked last and of its level.
const CATCH_ALL: &str = "catch-all";
const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of the hash that picks a flow's hand of queues.
const HASH_BITS: i64 = 60;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Kinds of subjects and their fields.
const SUBJECTS: [(&str, &str); 3] =
    [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

pub(super) fn validate(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let name = text(&new["metadata"], "name");
    match kind {
        "FlowSchema" => check_schema(name, &new["spec"], problems),
        "PriorityLevelConfiguration" => check_level(name, &new["spec"], problems),
        _ => {}
    }
    if let Some(old) = old.filter(|_| matches!(name, EXEMPT | CATCH_ALL)) {
        check_mandatory(kind, new, &old["spec"], problems);
    }
}

/// What the server made stays, but for how much of the exempt level others may borrow.
fn check_mandatory(kind: &str, new: &Value, before: &Value, problems: &mut Problems) {
    let (name, spec) = (text(&new["metadata"], "name"), &new["spec"]);
    let has_section = name == EXEMPT && kind == "PriorityLevelConfiguration";
    let compared = |spec: &Value| {
        let mut map = spec.as_object().cloned().unwrap_or_default();
        if has_section {
            map.remove("exempt");
        }
        map
    };
    if compared(spec) != compared(before) {
        let but = if has_section { " except the 'spec.exempt' field" } else { "" };
        let detail = format!("spec of '{name}'{but} must equal the fixed value");
        problems.invalid("spec", spec, &detail);
    }
}

fn check_schema(name: &str, spec: &Value, problems: &mut Problems) {
    check_precedence(name, &spec["matchingPrecedence"], problems);
    if let Some(method) = spec.get("distinguisherMethod")
        && !matches!(text(method, "type"), "ByNamespace" | "ByUser")
    {
        let path = "spec.distinguisherMethod.type";
        problems.not_supported(path, method, &["ByNamespace", "ByUser"]);
    }
    let (path, level) =
        ("spec.priorityLevelConfiguration.name", text(&spec["priorityLevelConfiguration"], "name"));
    if level.is_empty() {
        problems.required(path, "must reference a priority level");
    } else {
        problems.check_text(path, level, names::dns1123_subdomain(level));
    }
    for (path, rule) in items(spec, "rules", "spec") {
        check_rule(rule, &path, problems);
    }
}

fn check_precedence(name: &str, precedence: &Value, problems: &mut Problems) {
    let path = "spec.matchingPrecedence";
    match precedence.as_i64().unwrap_or(0) {
        number if number <= 0 => problems.invalid(path, precedence, "must be a positive value"),
        number if number > PRECEDENCE_MAX => {
            let detail = format!("must not be greater than {PRECEDENCE_MAX}");
            problems.invalid(path, precedence, &detail);
        }
        1 if name != EXEMPT => {
            let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
            problems.invalid(path, precedence, detail);
        }
        _ => {}
    }
}

fn is_empty(value: &Value, field: &str) -> bool {
    value[field].as_array().is_none_or(Vec::is_empty)
}

fn check_rule(rule: &Value, path: &str, problems: &mut Problems) {
    if is_empty(rule, "subjects") {
        let detail = "subjects must contain at least one value";
        problems.required(&format!("{path}.subjects"), detail);
    }
    for (path, subject) in items(rule, "subjects", path) {
        check_subject(subject, &path, problems);
    }
    if is_empty(rule, "resourceRules") && is_empty(rule, "nonResourceRules") {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        problems.required(path, detail);
    }
    for (path, resources) in items(rule, "resourceRules", path) {
        check_resources(resources, &path, problems);
    }
    for (path, urls) in items(rule, "nonResourceRules", path) {
        check_verbs(urls, &path, problems);
        check_urls(urls, &path, problems);
    }
}

fn check_subject(subject: &Value, path: &str, problems: &mut Problems) {
    let kind = text(subject, "kind");
    let Some((_, field)) = SUBJECTS.into_iter().find(|(name, _)| *name == kind) else {
        let kinds = SUBJECTS.map(|(name, _)| name);
        problems.not_supported(&format!("{path}.kind"), &subject["kind"], &kinds);
        return;
    };
    let at = format!("{path}.{field}");
    match subject.get(field) {
        None => {
            let detail = format!("{field} is required when subject kind is '{kind}'");
            problems.required(&at, &detail);
        }
        Some(account) if kind == "ServiceAccount" => check_account(account, &at, problems),
        Some(named) => {
            require_text(named, "name", &at, problems);
        }
    }
    for (kind, other) in SUBJECTS.into_iter().filter(|(_, other)| *other != field) {
        if subject.get(other).is_some() {
            let detail = format!("{other} is forbidden when subject kind is not '{kind}'");
            problems.forbidden(&format!("{path}.{other}"), &detail);
        }
    }
}

fn check_account(account: &Value, path: &str, problems: &mut Problems) {
    let (name, namespace) = (text(account, "name"), text(account, "namespace"));
    if require_text(account, "name", path, problems) && name != "*" {
        problems.check_text(&format!("{path}.name"), name, names::dns1123_subdomain(name));
    }
    let path = format!("{path}.namespace");
    if namespace.is_empty() {
        problems.required(&path, "must specify namespace for service account");
    } else {
        problems.check_text(&path, namespace, names::dns1123_label(namespace));
    }
}

/// A list that is `*` or names things. True where it names things.
fn check_stars(
    rule: &Value,
    (field, things): (&str, &str),
    path: &str,
    problems: &mut Problems,
) -> bool {
    let list = rule[field].as_array().map_or(&[][..], Vec::as_slice);
    let starred = list.iter().any(|one| one == "*");
    if starred && list.len() > 1 {
        let detail = format!("if '*' is present, must not specify other {things}");
        problems.invalid(&format!("{path}.{field}"), &rule[field], &detail);
    }
    !starred && !list.is_empty()
}

fn check_verbs(rule: &Value, path: &str, problems: &mut Problems) {
    let at = format!("{path}.verbs");
    if is_empty(rule, "verbs") {
        problems.required(&at, "verbs must contain at least one value");
    }
    let is_verb = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if check_stars(rule, ("verbs", "verbs"), path, problems)
        && !rule["verbs"].as_array().into_iter().flatten().all(is_verb)
    {
        problems.not_supported(&at, &rule["verbs"], &VERBS);
    }
}

fn check_resources(rule: &Value, path: &str, problems: &mut Problems) {
    check_verbs(rule, path, problems);
    for (field, things, one) in
        [("apiGroups", "api groups", "api group"), ("resources", "resources", "resource")]
    {
        if is_empty(rule, field) {
            let detail = format!("resource rules must supply at least one {one}");
            problems.required(&format!("{path}.{field}"), &detail);
        }
        check_stars(rule, (field, things), path, problems);
    }
    if is_empty(rule, "namespaces") && rule["clusterScope"] != true {
        let detail =
            "resource rules that are not cluster scoped must supply at least one namespace";
        problems.required(&format!("{path}.namespaces"), detail);
    }
    if !check_stars(rule, ("namespaces", "namespaces"), path, problems) {
        return;
    }
    for (path, namespace) in items(rule, "namespaces", path) {
        if let Some(problem) = namespace.as_str().and_then(names::dns1123_label) {
            let detail =
                format!("each member of this list must be '*' or a DNS-1123 label; {problem}");
            problems.invalid(&path, namespace, &detail);
        }
    }
}

fn check_urls(rule: &Value, path: &str, problems: &mut Problems) {
    if is_empty(rule, "nonResourceURLs") {
        let detail = "nonResourceURLs must contain at least one value";
        problems.required(&format!("{path}.nonResourceURLs"), detail);
    }
    if !check_stars(rule, ("nonResourceURLs", "non-resource URLs"), path, problems) {
        return;
    }
    for (path, url) in items(rule, "nonResourceURLs", path) {
        if let Some(problem) = url_problem(url.as_str().unwrap_or_default()) {
            problems.invalid(&path, url, problem);
        }
    }
}

fn url_problem(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

fn check_level(name: &str, spec: &Value, problems: &mut Problems) {
    let kind = text(spec, "type");
    if (name == EXEMPT) != (kind == "Exempt") {
        let detail = "type must be 'Exempt' if and only if name is 'exempt'";
        problems.invalid("spec.type", &spec["type"], detail);
    }
    match kind {
        "Exempt" => {
            if spec.get("limited").is_some() {
                let detail = "must be nil if the type is not Limited";
                problems.forbidden("spec.limited", detail);
            }
            check_shares(&spec["exempt"], "spec.exempt", problems);
        }
        "Limited" => {
            if spec.get("exempt").is_some() {
                let detail = "must be nil if the type is Limited";
                problems.forbidden("spec.exempt", detail);
            }
            match spec.get("limited") {
                None => {
                    problems.required("spec.limited", "must not be empty when type is Limited");
                }
                Some(limited) => check_limited(limited, problems),
            }
        }
        _ => problems.not_supported("spec.type", &spec["type"], &["Exempt", "Limited"]),
    }
}

fn check_shares(section: &Value, path: &str, problems: &mut Problems) {
    let shares = &section["nominalConcurrencyShares"];
    if shares.as_i64().is_some_and(|shares| shares < 0) {
        let path = format!("{path}.nominalConcurrencyShares");
        problems.invalid(&path, shares, "must be a non-negative integer");
    }
    let percent = &section["lendablePercent"];
    if percent.as_i64().is_some_and(|percent| !(0..=100).contains(&percent)) {
        let path = format!("{path}.lendablePercent");
        problems.invalid(&path, percent, "must be between 0 and 100, inclusive");
    }
}

fn check_limited(limited: &Value, problems: &mut Problems) {
    check_shares(limited, "spec.limited", problems);
    let percent = &limited["borrowingLimitPercent"];
    if percent.as_i64().is_some_and(|percent| percent < 0) {
        let detail = "if specified, must be a non-negative integer";
        problems.invalid("spec.limited.borrowingLimitPercent", percent, detail);
    }
    let response = &limited["limitResponse"];
    let path = "spec.limited.limitResponse.queuing";
    match (text(response, "type"), response.get("queuing")) {
        ("Reject", Some(_)) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            problems.forbidden(path, detail);
        }
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            problems.required(path, detail);
        }
        ("Queue", Some(queuing)) => check_queuing(queuing, path, problems),
        ("Reject", None) => {}
        _ => {
            let path = "spec.limited.limitResponse.type";
            problems.not_supported(path, &response["type"], &["Queue", "Reject"]);
        }
    }
}

fn check_queuing(queuing: &Value, path: &str, problems: &mut Problems) {
    let number = |field: &str| queuing[field].as_i64().unwrap_or(0);
    let (queues, hand) = (number("queues"), number("handSize"));
    let mut complain = |field: &str, detail: &str| {
        problems.invalid(&format!("{path}.{field}"), &json!(number(field)), detail);
    };
    if number("queueLengthLimit") <= 0 {
        complain("queueLengthLimit", "must be positive");
    }
    if queues <= 0 {
        complain("queues", "must be positive");
    } else if queues > QUEUES_MAX {
        complain("queues", &format!("must not be greater than {QUEUES_MAX}"));
    }
    if hand <= 0 {
        complain("handSize", "must be positive");
    } else if hand > queues {
        complain("handSize", &format!("should not be greater than queues ({queues})"));
    } else if hand_bits(queues, hand) > HASH_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        complain("handSize", &detail);
    }
}

/// Bits of hash that dealing a hand takes.
fn hand_bits(queues: i64, hand: i64) -> i64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "both are below 2^31, and so is what they make unless it is refused"
    )]
    let bits = ((queues as f64).log2() * hand as f64).ceil() as i64;
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{defaulted, problems};

    fn schema(name: &str, edit: impl Fn(&mut Value)) -> Value {
        let mut object = json!({"metadata": {"name": name}, "spec": {
            "priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 900, "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}},
                    {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}],
                "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": true}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/a/*", "/"]}]}]}});
        edit(&mut object["spec"]);
        defaulted("FlowSchema", object)
    }

    #[test]
    fn schemas_are_checked() {
        let rule = |field: &'static str, value: Value| {
            schema("s", move |spec| spec["rules"][0][field] = value.clone())
        };
        for (object, expected) in [
            (schema("s", |_| {}), ""),
            (schema("exempt", |spec| spec["matchingPrecedence"] = json!(1)), ""),
            (
                schema("s", |spec| spec["matchingPrecedence"] = json!(1)),
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            ),
            (
                schema("s", |spec| spec["matchingPrecedence"] = json!(10_001)),
                "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
            ),
            (
                schema("s", |spec| spec["priorityLevelConfiguration"] = json!({})),
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ),
            (
                schema("s", |spec| spec["distinguisherMethod"]["type"] = json!("ByHour")),
                "spec.distinguisherMethod.type: Unsupported value: {\"type\":\"ByHour\"}: supported values: \"ByNamespace\", \"ByUser\"",
            ),
            (
                rule("subjects", json!([])),
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            ),
            (
                rule("subjects", json!([{"kind": "Group", "user": {"name": "u"}}])),
                "spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'; \
                 spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'",
            ),
            (
                rule("resourceRules", json!([{"verbs": ["*", "get"], "resources": ["pods"]}])),
                "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs; \
                 spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group; \
                 spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            ),
            (
                rule(
                    "nonResourceRules",
                    json!([{"verbs": ["get"], "nonResourceURLs": ["a", "/b*", "/c//d"]}]),
                ),
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"a\": must start with slash; \
                 spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/b*\": wildcard can only do suffix matching; \
                 spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: \"/c//d\": must not contain double slash",
            ),
        ] {
            assert_eq!(problems("FlowSchema", &object, None), expected);
        }
    }

    #[test]
    fn levels_are_checked() {
        let limited = |limited: Value| json!({"type": "Limited", "limited": limited});
        let queuing = |queues: i64, hand: i64, length: i64| {
            limited(
                json!({"limitResponse": {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}}),
            )
        };
        for (name, spec, expected) in [
            ("l", queuing(128, 6, 50), ""),
            ("l", limited(json!({"limitResponse": {"type": "Queue"}})), ""),
            (
                "l",
                limited(
                    json!({"nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}}),
                ),
                "",
            ),
            ("exempt", json!({"type": "Exempt"}), ""),
            (
                "l",
                json!({"type": "Exempt"}),
                "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'",
            ),
            (
                "l",
                json!({"type": "Limited"}),
                "spec.limited: Required value: must not be empty when type is Limited",
            ),
            (
                "l",
                queuing(4, 5, 50),
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)",
            ),
            (
                "l",
                queuing(128, 9, -1),
                "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive; \
                 spec.limited.limitResponse.queuing.handSize: Invalid value: 9: \
                 required entropy bits of deckSize 128 and handSize 9 should not be greater than 60",
            ),
            (
                "l",
                limited(
                    json!({"lendablePercent": 101, "borrowingLimitPercent": -1, "limitResponse": {"type": "Reject", "queuing": {}}}),
                ),
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive; \
                 spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer; \
                 spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited",
            ),
        ] {
            let object = json!({"metadata": {"name": name}, "spec": spec});
            let object = defaulted("PriorityLevelConfiguration", object);
            assert_eq!(problems("PriorityLevelConfiguration", &object, None), expected);
        }
    }

    #[test]
    fn mandatory_objects_stay() {
        let level = |name: &str, spec: Value| {
            let object = json!({"metadata": {"name": name}, "spec": spec});
            defaulted("PriorityLevelConfiguration", object)
        };
        let exempt = |shares: u32| {
            level(EXEMPT, json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": shares}}))
        };
        let limited = |name: &str, shares: u32| {
            level(
                name,
                json!({"type": "Limited", "limited": {"nominalConcurrencyShares": shares, "limitResponse": {"type": "Reject"}}}),
            )
        };
        for (old, new, expected) in [
            (exempt(0), exempt(5), ""),
            (limited("mine", 5), limited("mine", 6), ""),
            (
                limited(CATCH_ALL, 5),
                limited(CATCH_ALL, 6),
                ": spec of 'catch-all' must equal the fixed value",
            ),
        ] {
            let found = problems("PriorityLevelConfiguration", &new, Some(&old));
            assert!(
                found.ends_with(expected) && found.is_empty() == expected.is_empty(),
                "{found}"
            );
        }
        let old = schema(CATCH_ALL, |_| {});
        let new = schema(CATCH_ALL, |spec| spec["matchingPrecedence"] = json!(2));
        let found = problems("FlowSchema", &new, Some(&old));
        assert!(found.ends_with(": spec of 'catch-all' must equal the fixed value"), "{found}");
    }
}
