//! Expressions ready to run, and why they are not or fail.

use std::fmt;

use crate::{
    budget::Budget, compile, environment::Environment, eval::Evaluation, node::Node, types::Type,
    value::Value, variables::Variables,
};

/// A parsed and checked expression.
#[derive(Debug)]
pub struct Program {
    pub(crate) node: Node,
    result: Type,
    uses: Vec<String>,
}

/// Why an expression is none. Displayed as upstream displays it, after `compilation failed: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    pub issues: Vec<Issue>,
}

/// One problem and where it is: line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// The line of the source.
    pub snippet: String,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, message, snippet } = self;
        write!(f, "ERROR: <input>:{line}:{column}: {message}")?;
        if !snippet.is_empty() {
            write!(f, "\n | {snippet}\n | {}^", ".".repeat(column.saturating_sub(1)))?;
        }
        Ok(())
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("compilation failed: ")?;
        for (index, issue) in self.issues.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{issue}")?;
        }
        Ok(())
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// CEL's own error: `no such key: x`, `division by zero`.
    #[error("{0}")]
    Failed(String),
    /// The expression alone did more than [`crate::EXPRESSION_COST_MAX`].
    #[error("operation cancelled: actual cost limit exceeded")]
    ExpressionLimit,
    /// The expressions of this request together did more than [`crate::REQUEST_COST_MAX`].
    #[error(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )]
    RequestLimit,
}

impl EvalError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn no_overload() -> Self {
        Self::failed("no such overload")
    }
}

impl Program {
    /// Parses and checks an expression. Undeclared names, unknown fields of known objects and calls no function is declared
    /// for are errors.
    pub fn compile(source: &str, environment: &Environment) -> Result<Self, CompileError> {
        let compiled = compile::compile(source, environment)?;
        Ok(Self { node: compiled.node, result: compiled.result, uses: compiled.uses })
    }

    /// The type of the result as far as it is known.
    #[must_use]
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// Whether the expression names this variable: `oldSelf` makes a transition rule.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        self.uses.iter().any(|name| name == variable)
    }

    /// Evaluates; what it cost is taken from the budget in any case.
    pub fn evaluate(&self, variables: &Variables, budget: &mut Budget) -> Result<Value, EvalError> {
        let mut evaluation = Evaluation::new(variables, budget.meter());
        let result = evaluation.run(&self.node);
        budget.settle(&evaluation.meter);
        result
    }
}
