//! `x-kubernetes-validations` of a definition: they must compile, be able to tell old from new, and not cost too much.

use api::{
    rules::problems::Problems,
    structural::{self, Additional, ListType, Schema},
};
use serde_json::Value;

use super::{
    cost::{self, Count, Total},
    text,
};
use crate::custom::{
    extent::{self, Measured},
    rules::compile_rule,
};

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// Upstream's limit on `message` and on what `messageExpression` makes, in characters.
const MESSAGE_MAX: usize = 2048;

/// Checks all rules of a schema. `accepted`: the definition has had it before.
pub(super) fn validate(raw: &Value, path: &str, accepted: bool, problems: &mut Problems) {
    let schema = structural::parse(raw);
    let mut check = Check { problems, total: Total::new(accepted) };
    check
        .node(&schema, &Spot { path: path.to_owned(), unstable: None, count: Some(1), root: true });
    let Check { problems, total } = check;
    total.judge(path, problems);
}

/// Where a node stands.
struct Spot {
    path: String,
    /// The nearest list whose items cannot be told apart.
    unstable: Option<String>,
    /// How many values of it there can be.
    count: Count,
    root: bool,
}

struct Check<'p> {
    problems: &'p mut Problems,
    total: Total,
}

impl Check<'_> {
    fn node(&mut self, schema: &Schema, at: &Spot) {
        if !schema.has_rules {
            return;
        }
        self.rules(schema, at);
        let below = |part: String| Spot {
            path: format!("{}.{part}", at.path),
            unstable: at.unstable.clone(),
            count: cost::below(schema, at.count),
            root: false,
        };
        for (name, child) in &schema.properties {
            self.node(child, &below(format!("properties[{name}]")));
        }
        if let Additional::Of(child) = &schema.additional {
            self.node(child, &below("additionalProperties".to_owned()));
        }
        if let Some(child) = &schema.items {
            let mut spot = below("items".to_owned());
            if !matches!(schema.list_type, ListType::Map(_)) {
                spot.unstable.get_or_insert_with(|| at.path.clone());
            }
            self.node(child, &spot);
        }
    }

    fn rules(&mut self, schema: &Schema, at: &Spot) {
        if schema.rules.is_empty() {
            return;
        }
        let measured = extent::measure(schema, at.root).unwrap_or_default();
        for (index, rule) in schema.rules.iter().enumerate() {
            let path = format!("{}.x-kubernetes-validations[{index}]", at.path);
            if written(schema, rule, &path, self.problems) {
                self.compiled(schema, rule, &path, at, &measured);
            }
        }
    }

    fn compiled(
        &mut self,
        schema: &Schema,
        rule: &Value,
        path: &str,
        at: &Spot,
        measured: &Measured,
    ) {
        let compiled = match compile_rule(schema, rule, at.root) {
            Ok(compiled) => compiled,
            Err((field, detail)) => {
                let path = format!("{path}.{field}");
                return self.problems.invalid(&path, &rule[field], &detail);
            }
        };
        let costs = compiled.costs_max(schema, at.root, &measured.extent);
        let count = at.count.unwrap_or_else(|| measured.count_max());
        let (all, path_of) =
            (costs.rule.saturating_mul(count), |field: &str| format!("{path}.{field}"));
        self.total.add("rule", path_of("rule"), all, self.problems);
        if let Some(cost) = costs.message {
            let name = "messageExpression";
            self.total.add(name, path_of(name), cost, self.problems);
        }
        if let Some(list) = at.unstable.as_ref().filter(|_| compiled.transition) {
            let detail = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
            );
            self.problems.invalid(&path_of("rule"), &rule["rule"], &detail);
        }
        if rule["optionalOldSelf"] == true && !compiled.transition {
            let detail = "may not be set if oldSelf is not used in rule";
            self.problems.invalid(&path_of("optionalOldSelf"), &rule["optionalOldSelf"], detail);
        }
    }
}

/// Checks what stands beside the expression; whether there is one.
fn written(schema: &Schema, rule: &Value, path: &str, problems: &mut Problems) -> bool {
    if text(rule, "rule").trim().is_empty() {
        problems.required(&format!("{path}.rule"), "rule is not specified");
        return false;
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
    true
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
fn resolves(schema: &Schema, path: &str) -> bool {
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
