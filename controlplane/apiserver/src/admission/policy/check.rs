//! Complaints about the expressions of a policy: they do not compile, or result in another type than they must. Pure.

use expressions::{Environment, Program, Type};
use serde_json::Value;

use super::compiled::environment;

/// A complaint about an expression: where, the source, what.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    pub field: String,
    pub source: String,
    pub detail: String,
}

/// What an expression must result in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Bool,
    Text,
    TextOrNull,
    Anything,
    JsonPatch,
    Object,
}

impl Wanted {
    /// The complaint about another type.
    fn problem(self, got: &Type) -> Option<&'static str> {
        match (self, got) {
            (Self::Anything, _)
            | (_, Type::Dyn)
            | (Self::Bool, Type::Bool)
            | (Self::Text, Type::String)
            | (Self::TextOrNull, Type::String | Type::Null)
            | (Self::JsonPatch, Type::List(_))
            | (Self::Object, Type::Object(_)) => None,
            (Self::Bool, _) => Some("must evaluate to bool"),
            (Self::Text, _) => Some("must evaluate to string"),
            (Self::TextOrNull, _) => Some("must evaluate to one of [string null_type]"),
            (Self::JsonPatch, _) => Some("must evaluate to list(JSONPatch)"),
            (Self::Object, _) => Some("must evaluate to Object"),
        }
    }
}

/// Compiles everything in a policy with `object` of a type; complaints in the order of fields.
pub fn check_expressions(policy: &Value, object: Type) -> Vec<Complaint> {
    let spec = &policy["spec"];
    let mut check = Check { complaints: Vec::new() };
    let base = environment(policy, object);
    let items = |field: &str| {
        let list = spec[field].as_array().into_iter().flatten().enumerate();
        list.map(|(index, item)| (format!("spec.{field}[{index}]"), item)).collect::<Vec<_>>()
    };
    for (at, item) in items("matchConditions") {
        check.one(&format!("{at}.expression"), &item["expression"], Wanted::Bool, &base);
    }
    let mut all = base;
    for (at, item) in items("variables") {
        let source = &item["expression"];
        let of = check.one(&format!("{at}.expression"), source, Wanted::Anything, &all);
        all = all.composed(item["name"].as_str().unwrap_or_default(), of);
    }
    for (at, item) in items("validations") {
        check.one(&format!("{at}.expression"), &item["expression"], Wanted::Bool, &all);
        let message = &item["messageExpression"];
        check.one(&format!("{at}.messageExpression"), message, Wanted::Text, &all);
    }
    for (at, item) in items("auditAnnotations") {
        let value = &item["valueExpression"];
        check.one(&format!("{at}.valueExpression"), value, Wanted::TextOrNull, &all);
    }
    for (at, item) in items("mutations") {
        let parts = [("jsonPatch", Wanted::JsonPatch), ("applyConfiguration", Wanted::Object)];
        for (part, wanted) in parts {
            let source = &item[part]["expression"];
            check.one(&format!("{at}.{part}.expression"), source, wanted, &all);
        }
    }
    check.complaints
}

struct Check {
    complaints: Vec<Complaint>,
}

impl Check {
    /// Checks one expression; the type of its result.
    fn one(
        &mut self,
        field: &str,
        source: &Value,
        wanted: Wanted,
        environment: &Environment,
    ) -> Type {
        let Some(source) = source.as_str().filter(|text| !text.trim().is_empty()) else {
            return Type::Dyn;
        };
        let (detail, of) = match Program::compile(source, environment) {
            Err(error) => (Some(error.to_string()), Type::Dyn),
            Ok(program) => {
                let of = program.result_type().clone();
                (wanted.problem(&of).map(str::to_owned), of)
            }
        };
        let (field, source) = (field.to_owned(), source.to_owned());
        self.complaints.extend(detail.map(|detail| Complaint { field, source, detail }));
        of
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaints(spec: Value) -> Vec<String> {
        let policy = json!({"kind": "ValidatingAdmissionPolicy", "spec": spec});
        let all = check_expressions(&policy, Type::Dyn).into_iter();
        all.map(|one| format!("{}: {}", one.field, one.detail.lines().next().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn expressions_are_typed() {
        for (spec, expect) in [
            (
                json!({"validations": [{"expression": "object.a > 1 && variables.x"}],
                    "variables": [{"name": "x", "expression": "true"}]}),
                vec![],
            ),
            (
                json!({"validations": [{"expression": "'a'", "messageExpression": "1"}]}),
                vec![
                    "spec.validations[0].expression: must evaluate to bool",
                    "spec.validations[0].messageExpression: must evaluate to string",
                ],
            ),
            (
                json!({"auditAnnotations": [{"key": "a", "valueExpression": "1"}]}),
                vec![
                    "spec.auditAnnotations[0].valueExpression: must evaluate to one of [string null_type]",
                ],
            ),
        ] {
            assert_eq!(complaints(spec.clone()), expect, "{spec}");
        }
        assert_eq!(complaints(json!({"validations": [{"expression": "params.x == 1"}]})).len(), 1);
        let with_params =
            json!({"paramKind": {}, "validations": [{"expression": "params.x == 1"}]});
        assert!(complaints(with_params).is_empty());
    }
}
