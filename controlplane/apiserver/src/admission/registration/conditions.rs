//! `matchConditions` of webhooks and policies.

use std::collections::BTreeSet;

use api::rules::{names, problems::Problems};
use expressions::{Program, Type};
use serde_json::Value;

use super::{items, text};
use crate::admission::matching::expression::condition_environment;

const CONDITIONS_MAX: usize = 64;

/// Names and, when `compile`, expressions. Expressions of `old` that did not change are not judged again.
pub fn validate(owner: &Value, old: &Value, path: &str, compile: bool, problems: &mut Problems) {
    let list = &owner["matchConditions"];
    if list.as_array().is_some_and(|list| list.len() > CONDITIONS_MAX) {
        let detail = format!("must have at most {CONDITIONS_MAX} items");
        problems.invalid(&format!("{path}matchConditions"), list, &detail);
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in items(owner, "matchConditions") {
        let at = format!("{path}matchConditions[{index}]");
        let name = text(condition, "name");
        if name.is_empty() {
            problems.required(&format!("{at}.name"), "");
        } else {
            problems.check_text(&format!("{at}.name"), name, names::label_key(name));
            if !seen.insert(name) {
                problems.duplicate(&format!("{at}.name"), &condition["name"]);
            }
        }
        let source = text(condition, "expression").trim();
        let field = format!("{at}.expression");
        if source.is_empty() {
            problems.required(&field, "");
        } else if compile && !is_known(old, condition) {
            check(&field, text(condition, "expression"), problems);
        }
    }
}

fn is_known(old: &Value, condition: &Value) -> bool {
    items(old, "matchConditions").any(|(_, one)| one["expression"] == condition["expression"])
}

fn check(field: &str, source: &str, problems: &mut Problems) {
    match Program::compile(source, &condition_environment()) {
        Err(error) => problems.invalid_text(field, source, &error.to_string()),
        Ok(program) => {
            if !matches!(program.result_type(), Type::Bool | Type::Dyn) {
                problems.invalid_text(field, source, "must evaluate to bool");
            }
        }
    }
}
