//! `matchConditions`: all must be true. Upstream: `admission/plugin/webhook/matchconditions/matcher.go`.

use std::sync::Arc;

use expressions::{Budget, Program, Variables};
use serde_json::Value;

/// What conditions say about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Matching {
    Yes,
    /// The condition that is false.
    No(String),
    /// None is false, and this one failed.
    Failed(String),
}

/// A condition ready to run.
pub struct Condition {
    pub name: String,
    pub source: String,
    pub program: Result<Arc<Program>, String>,
}

impl Condition {
    /// Reads a list of conditions with what compiles them.
    pub fn all(list: &Value, compile: impl Fn(&str) -> Result<Arc<Program>, String>) -> Vec<Self> {
        let list = list.as_array().into_iter().flatten();
        list.map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            let source = text("expression");
            Self { name: text("name"), program: compile(&source), source }
        })
        .collect()
    }
}

/// Evaluates all conditions: one that is false outweighs any that fail.
pub fn evaluate(conditions: &[Condition], variables: &Variables, budget: &mut Budget) -> Matching {
    let mut failure = None;
    for condition in conditions {
        let outcome = match &condition.program {
            Ok(program) => program.evaluate(variables, budget).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match outcome {
            Ok(value) if value.is_true() => {}
            Ok(_) => return Matching::No(condition.name.clone()),
            Err(error) => {
                let source = &condition.source;
                failure.get_or_insert(format!("expression '{source}' resulted in error: {error}"));
            }
        }
    }
    failure.map_or(Matching::Yes, Matching::Failed)
}

#[cfg(test)]
mod tests {
    use expressions::{Environment, Type};
    use serde_json::json;

    use super::*;

    #[test]
    fn false_outweighs_errors() {
        let compile = |source: &str| {
            let environment = Environment::new().variable("object", Type::Dyn);
            Program::compile(source, &environment).map(Arc::new).map_err(|error| error.to_string())
        };
        let variables = Variables::new().with("object", &json!({"a": 1}));
        let list = |sources: &[&str]| -> Value {
            sources.iter().map(|source| json!({"name": source, "expression": source})).collect()
        };
        for (sources, expect) in [
            (vec![], Matching::Yes),
            (vec!["object.a == 1"], Matching::Yes),
            (vec!["object.b == 1", "object.a == 2"], Matching::No("object.a == 2".into())),
            (
                vec!["object.b == 1", "true"],
                Matching::Failed(
                    "expression 'object.b == 1' resulted in error: no such key: b".into(),
                ),
            ),
        ] {
            let conditions = Condition::all(&list(&sources), compile);
            assert_eq!(evaluate(&conditions, &variables, &mut Budget::default()), expect);
        }
    }
}
