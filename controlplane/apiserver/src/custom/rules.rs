//! CEL rules of custom resources (`x-kubernetes-validations`): compiled once per schema, evaluated at each write.
//! Upstream `apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go`.

use std::collections::BTreeMap;

use api::{
    rules::problems::Problems,
    status::Cause,
    structural::{Additional, Schema, old_item},
};
use expressions::{Budget, Environment, EvalError, Extent, Program, Type, Variables};
use serde_json::Value as Json;

use super::typed;

/// One rule, ready to run.
#[derive(Debug)]
pub struct Compiled {
    program: Program,
    message_expression: Option<Program>,
    /// It names `oldSelf`: it holds between an old and a new value.
    pub transition: bool,
    optional_old: bool,
    message: String,
    rule: String,
    reason: String,
    field_path: String,
}

/// The rules of a schema's nodes, in the shape of the schema.
#[derive(Debug, Default)]
pub struct Rules {
    here: Vec<Compiled>,
    properties: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    additional: Option<Box<Rules>>,
}

/// Compiles all rules. Those that do not compile were refused when the definition was written; they are left out.
#[must_use]
pub fn compile(schema: &Schema, root: bool) -> Rules {
    if !schema.has_rules {
        return Rules::default();
    }
    let below = |child: &Schema| child.has_rules.then(|| Box::new(compile(child, false)));
    let properties = schema.properties.iter().filter(|(_, child)| child.has_rules);
    Rules {
        here: schema
            .rules
            .iter()
            .filter_map(|rule| compile_rule(schema, rule, root).ok())
            .collect(),
        properties: properties.map(|(name, child)| (name.clone(), compile(child, false))).collect(),
        items: schema.items.as_deref().and_then(below),
        additional: match &schema.additional {
            Additional::Of(child) => below(child),
            _ => None,
        },
    }
}

/// Compiles one rule of a node; the field and the message of what is wrong with it.
pub fn compile_rule(
    schema: &Schema,
    rule: &Json,
    root: bool,
) -> Result<Compiled, (&'static str, String)> {
    let text = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    let optional_old = rule["optionalOldSelf"] == true;
    let environment = environment(schema, root, optional_old);
    let source = text("rule");
    let program =
        Program::compile(&source, &environment).map_err(|error| ("rule", error.to_string()))?;
    if !program.result_type().fits(&Type::Bool) {
        return Err(("rule", "cel expression must evaluate to a bool".to_owned()));
    }
    let written = text("messageExpression");
    let message_expression = if written.trim().is_empty() {
        None
    } else {
        let compiled = Program::compile(&written, &environment)
            .map_err(|error| ("messageExpression", format!("messageExpression {error}")))?;
        if !compiled.result_type().fits(&Type::String) {
            return Err((
                "messageExpression",
                "messageExpression must evaluate to a string".to_owned(),
            ));
        }
        Some(compiled)
    };
    let transition = program.uses("oldSelf");
    let (message, reason, field_path) = (text("message"), text("reason"), text("fieldPath"));
    Ok(Compiled {
        program,
        message_expression,
        transition,
        optional_old,
        message,
        rule: source,
        reason,
        field_path,
    })
}

fn environment(schema: &Schema, root: bool, optional_old: bool) -> Environment {
    let of = typed::type_of(schema, root);
    let old = if optional_old { Type::optional(of.clone()) } else { of.clone() };
    Environment::new().variable("self", of).variable("oldSelf", old)
}

/// What a rule's expressions may cost on one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    pub rule: u64,
    pub message: Option<u64>,
}

impl Compiled {
    /// The costs at most, on values of that extent.
    #[must_use]
    pub fn costs_max(&self, schema: &Schema, root: bool, extent: &Extent) -> Costs {
        let environment = environment(schema, root, self.optional_old);
        let cost = |program: &Program| program.cost_max(&environment, extent);
        Costs { rule: cost(&self.program), message: self.message_expression.as_ref().map(cost) }
    }
}

/// The names of `.a['b'].c`; `None` when it is not such a path.
#[must_use]
pub fn field_steps(path: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("['") {
            let (name, after) = after.split_once("']")?;
            steps.push(name.to_owned());
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return None;
            }
            steps.push(after[..end].to_owned());
            rest = &after[end..];
        }
    }
    Some(steps)
}

/// Evaluates all rules of an object.
pub fn validate(
    rules: &Rules,
    schema: &Schema,
    object: &Json,
    old: Option<&Json>,
    problems: &mut Problems,
) {
    if !schema.has_rules {
        return;
    }
    let mut run = Run { problems, budget: Budget::default(), spent: false };
    run.node(&Node { rules, schema, value: object, old, path: "", root: true });
}

/// A value of the object, with what is asked of it.
struct Node<'a> {
    rules: &'a Rules,
    schema: &'a Schema,
    value: &'a Json,
    old: Option<&'a Json>,
    path: &'a str,
    root: bool,
}

struct Run<'p> {
    problems: &'p mut Problems,
    budget: Budget,
    /// The budget is gone; nothing more is evaluated.
    spent: bool,
}

impl Run<'_> {
    /// The node's own rules, then those of what is in it.
    fn node(&mut self, node: &Node<'_>) {
        if self.spent || node.value.is_null() {
            return;
        }
        self.here(node);
        match node.value {
            Json::Object(fields) => {
                for (name, value) in fields {
                    self.field(node, name, value);
                }
            }
            Json::Array(items) => {
                let (Some(rules), Some(schema)) = (&node.rules.items, &node.schema.items) else {
                    return;
                };
                for (index, value) in items.iter().enumerate() {
                    let old = old_item(node.schema, node.old, value);
                    let path = &format!("{}[{index}]", node.path);
                    self.node(&Node { rules, schema, value, old, path, root: false });
                }
            }
            _ => {}
        }
    }

    fn field(&mut self, node: &Node<'_>, name: &str, value: &Json) {
        let declared = node.rules.properties.get(name).zip(node.schema.properties.get(name));
        let (rules, schema) = match (declared, &node.rules.additional, &node.schema.additional) {
            (Some(declared), _, _) => declared,
            (None, Some(rules), Additional::Of(schema)) => (&**rules, &**schema),
            _ => return,
        };
        let old = node.old.and_then(|old| old.get(name));
        let dot = if node.path.is_empty() { "" } else { "." };
        let path = &format!("{}{dot}{name}", node.path);
        self.node(&Node { rules, schema, value, old, path, root: false });
    }

    fn here(&mut self, node: &Node<'_>) {
        let Node { rules, schema, value, old, path, root } = *node;
        if rules.here.is_empty() {
            return;
        }
        let mut variables = Variables::new().with("self", typed::value(schema, value, root));
        let before = old.filter(|old| !old.is_null()).map(|old| typed::value(schema, old, root));
        for rule in &rules.here {
            if self.spent {
                return;
            }
            match (&before, rule.optional_old) {
                (Some(before), false) => variables.set("oldSelf", before.clone()),
                (Some(before), true) => {
                    variables.set("oldSelf", expressions::Value::some(before.clone()))
                }
                (None, true) => variables.set("oldSelf", expressions::Value::Optional(None)),
                (None, false) if rule.transition => continue,
                (None, false) => {}
            }
            // Ratcheting: what did not change is not judged again, except by rules about change.
            if old == Some(value) && !rule.transition {
                continue;
            }
            self.rule(rule, value, &variables, path);
        }
    }

    fn rule(&mut self, rule: &Compiled, value: &Json, variables: &Variables, path: &str) {
        match rule.program.evaluate(variables, &mut self.budget) {
            Ok(result) if result.is_true() => {}
            Ok(_) => {
                let message = self.message(rule, variables);
                self.failed(rule, value, path, &message);
            }
            Err(EvalError::Failed(error)) => {
                let source = &rule.rule;
                self.problems.push(Cause {
                    reason: "FieldValueInvalid".into(),
                    message: format!("Invalid value: {}: {error} evaluating rule: {source}", shown(value)),
                    field: named(path),
                });
            }
            Err(EvalError::ExpressionLimit) => {
                let detail = format!(
                    "no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    rule.rule
                );
                self.stop(value, path, &detail);
            }
            Err(EvalError::RequestLimit) => self.stop(
                value,
                path,
                "validation failed due to running out of cost budget, no further validation rules will be run",
            ),
        }
    }

    fn stop(&mut self, value: &Json, path: &str, detail: &str) {
        self.spent = true;
        let message = format!("Invalid value: {}: {detail}", shown(value));
        self.problems.push(Cause {
            reason: "FieldValueInvalid".into(),
            message,
            field: named(path),
        });
    }

    /// `messageExpression`, else `message`, else the rule itself.
    fn message(&mut self, rule: &Compiled, variables: &Variables) -> String {
        if let Some(expression) = &rule.message_expression
            && let Ok(value) = expression.evaluate(variables, &mut self.budget)
            && let Some(text) = value.as_text().map(str::trim)
            && !text.is_empty()
            && !text.contains('\n')
        {
            return text.to_owned();
        }
        if rule.message.is_empty() {
            format!("failed rule: {}", rule.rule.trim())
        } else {
            rule.message.clone()
        }
    }

    fn failed(&mut self, rule: &Compiled, value: &Json, path: &str, message: &str) {
        let mut field = named(path);
        if !rule.field_path.is_empty() {
            let base = if path.is_empty() { "" } else { path };
            field = format!("{base}{}", rule.field_path).trim_start_matches('.').to_owned();
        }
        let (reason, message) = match rule.reason.as_str() {
            "FieldValueRequired" => ("FieldValueRequired", format!("Required value: {message}")),
            "FieldValueForbidden" => ("FieldValueForbidden", format!("Forbidden: {message}")),
            "FieldValueDuplicate" => {
                ("FieldValueDuplicate", format!("Duplicate value: {}", shown(value)))
            }
            _ => ("FieldValueInvalid", format!("Invalid value: {}: {message}", shown(value))),
        };
        self.problems.push(Cause { reason: reason.into(), message, field });
    }
}

/// Rules at the root are about no field.
fn named(path: &str) -> String {
    if path.is_empty() { "<nil>".to_owned() } else { path.to_owned() }
}

/// Scalars are shown, objects and lists only named, as upstream does.
fn shown(value: &Json) -> String {
    match value {
        Json::Object(_) => "\"object\"".to_owned(),
        Json::Array(_) => "\"array\"".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: &Json, object: &Json, old: Option<&Json>) -> Vec<String> {
        let raw = json!({"type": "object", "properties": {"spec": spec}});
        let schema = api::structural::parse(&raw);
        let mut problems = Problems::default();
        validate(&compile(&schema, true), &schema, object, old, &mut problems);
        problems.into_causes().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_refuse_and_name_the_field() {
        let rule = |rule: Json| {
            json!({"type": "object", "x-kubernetes-validations": [rule],
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "in": {"type": "string"}}})
        };
        let spec = json!({"spec": {"a": 3, "b": 2, "in": "x"}});
        for (written, expect) in [
            (
                json!({"rule": "self.a <= self.b"}),
                "spec: Invalid value: \"object\": failed rule: self.a <= self.b",
            ),
            (
                json!({"rule": "self.a <= self.b", "message": "too much"}),
                "spec: Invalid value: \"object\": too much",
            ),
            (
                json!({"rule": "false", "messageExpression": "'a is ' + string(self.a)"}),
                "spec: Invalid value: \"object\": a is 3",
            ),
            (
                json!({"rule": "false", "fieldPath": ".a", "reason": "FieldValueForbidden"}),
                "spec.a: Forbidden: failed rule: false",
            ),
            (
                json!({"rule": "self.__in__ == 'y'"}),
                "spec: Invalid value: \"object\": failed rule: self.__in__ == 'y'",
            ),
            (
                json!({"rule": "1 / (self.a - 3) == 1"}),
                "spec: Invalid value: \"object\": division by zero evaluating rule: 1 / (self.a - 3) == 1",
            ),
        ] {
            assert_eq!(check(&rule(written), &spec, None), [expect]);
        }
    }

    #[test]
    fn transition_rules_need_an_old_value() {
        let spec =
            json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]});
        assert!(check(&spec, &json!({"spec": 1}), None).is_empty());
        assert!(check(&spec, &json!({"spec": 2}), Some(&json!({"spec": 1}))).is_empty());
        let found = check(&spec, &json!({"spec": 1}), Some(&json!({"spec": 2})));
        assert_eq!(found, ["spec: Invalid value: 1: failed rule: self >= oldSelf"]);
        let optional = json!({"type": "integer",
            "x-kubernetes-validations": [{"rule": "oldSelf.orValue(0) < self", "optionalOldSelf": true}]});
        assert!(check(&optional, &json!({"spec": 1}), None).is_empty());
        assert_eq!(check(&optional, &json!({"spec": 0}), None).len(), 1);
    }

    #[test]
    fn one_rule_cannot_spend_everything() {
        let spec = json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations":
            [{"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"}]});
        let many: Vec<u32> = (0..400).collect();
        let found = check(&spec, &json!({"spec": many}), None);
        assert!(found[0].contains("no further validation rules will be run"), "{found:?}");
    }

    #[test]
    fn unknown_names_do_not_compile() {
        let schema = api::structural::parse(
            &json!({"type": "object", "properties": {"a": {"type": "integer"}}}),
        );
        let error = compile_rule(&schema, &json!({"rule": "self.b == 1"}), false).unwrap_err();
        assert!(
            error.1.starts_with("compilation failed: ERROR: <input>:1:5: undefined field 'b'"),
            "{error:?}"
        );
        assert!(compile_rule(&schema, &json!({"rule": "self.a"}), false).is_err());
    }
}
