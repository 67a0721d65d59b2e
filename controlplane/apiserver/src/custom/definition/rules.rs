//! `x-kubernetes-validations` of a definition: they must compile, and be able to tell old from new.

use api::{rules::problems::Problems, structural};
use serde_json::Value;

use super::text;
use crate::custom::rules::{Compiled, compile_rule};

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// Upstream's limit on `message` and on what `messageExpression` makes, in characters.
const MESSAGE_MAX: usize = 2048;

/// Checks all rules of a schema.
pub(super) fn validate(raw: &Value, path: &str, problems: &mut Problems) {
    let schema = structural::parse(raw);
    walk(&schema, path, None, true, problems);
}

/// `unstable` is the nearest list whose items cannot be told apart.
fn walk(
    schema: &structural::Schema,
    path: &str,
    unstable: Option<&str>,
    root: bool,
    problems: &mut Problems,
) {
    if !schema.has_rules {
        return;
    }
    for (index, rule) in schema.rules.iter().enumerate() {
        let at = format!("{path}.x-kubernetes-validations[{index}]");
        one(schema, rule, &at, unstable, root, problems);
    }
    for (name, child) in &schema.properties {
        walk(child, &format!("{path}.properties[{name}]"), unstable, false, problems);
    }
    if let structural::Additional::Of(child) = &schema.additional {
        walk(child, &format!("{path}.additionalProperties"), unstable, false, problems);
    }
    if let Some(child) = &schema.items {
        let keyed = matches!(schema.list_type, structural::ListType::Map(_));
        let unstable = if keyed { unstable } else { unstable.or(Some(path)) };
        walk(child, &format!("{path}.items"), unstable, false, problems);
    }
}

fn one(
    schema: &structural::Schema,
    rule: &Value,
    path: &str,
    unstable: Option<&str>,
    root: bool,
    problems: &mut Problems,
) {
    if text(rule, "rule").trim().is_empty() {
        problems.required(&format!("{path}.rule"), "rule is not specified");
        return;
    }
    messages(rule, path, problems);
    if let Some(reason) = rule.get("reason").filter(|reason| !reason.is_null()) {
        problems.check_choice(&format!("{path}.reason"), reason, &REASONS);
    }
    let field_path = text(rule, "fieldPath");
    if !field_path.is_empty() && !resolves(schema, field_path) {
        problems.invalid_text(
            &format!("{path}.fieldPath"),
            field_path,
            "fieldPath must be a valid path: does not refer to a valid field",
        );
    }
    match compile_rule(schema, rule, root) {
        Ok(Compiled { transition, .. }) => {
            if let Some(list) = unstable.filter(|_| transition) {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
                );
                problems.invalid(&format!("{path}.rule"), &rule["rule"], &detail);
            }
            if rule["optionalOldSelf"] == true && !transition {
                let detail = "may not be set if oldSelf is not used in rule";
                problems.invalid(
                    &format!("{path}.optionalOldSelf"),
                    &rule["optionalOldSelf"],
                    detail,
                );
            }
        }
        Err((field, detail)) => problems.invalid(&format!("{path}.{field}"), &rule[field], &detail),
    }
}

fn messages(rule: &Value, path: &str, problems: &mut Problems) {
    let message = text(rule, "message");
    if rule.get("message").is_some()
        && message.trim().is_empty()
        && !rule["message"].is_null()
        && !message.is_empty()
    {
        problems.invalid_text(
            &format!("{path}.message"),
            message,
            "message must be non-empty if specified",
        );
    } else if message.contains('\n') || message.contains('\r') {
        problems.invalid_text(
            &format!("{path}.message"),
            message,
            "message must not contain line breaks",
        );
    } else if message.chars().count() > MESSAGE_MAX {
        let detail = format!("message must be at most {MESSAGE_MAX} characters");
        problems.invalid_text(&format!("{path}.message"), message, &detail);
    } else if text(rule, "rule").contains('\n') && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        problems.required(&format!("{path}.message"), detail);
    }
}

/// Whether `.a.b['c']` leads somewhere.
fn resolves(schema: &structural::Schema, path: &str) -> bool {
    let mut at = schema;
    let Some(steps) = crate::custom::rules::field_steps(path) else { return false };
    for step in steps {
        match at.field(&step) {
            Some(next) => at = next,
            None => return false,
        }
    }
    true
}
