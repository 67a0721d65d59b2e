//! From text to a checked tree: names, macros, overloads, types.

mod calls;
mod literals;
mod macros;
mod names;

use std::collections::BTreeSet;

use crate::{
    environment::Environment,
    node::{Node, Select},
    program::{CompileError, Issue},
    syntax::{self, DEPTH_MAX, Expr, Term},
    types::Type,
};

/// cel-go's limit on the size of an expression, in code points.
const SOURCE_MAX: usize = 100_000;
/// Enough for parsing and checking what is nested so deeply, without optimisation too.
pub(crate) const STACK_BYTES: usize = 16 << 20;
const ISSUES_MAX: usize = 30;

pub(crate) struct Compiled {
    pub(crate) node: Node,
    pub(crate) result: Type,
    pub(crate) uses: Vec<String>,
}

pub(crate) fn compile(source: &str, environment: &Environment) -> Result<Compiled, CompileError> {
    let single = |message: String| {
        let issue = Issue { line: 1, column: 1, message, snippet: String::new() };
        CompileError { issues: vec![issue] }
    };
    let size = source.chars().count();
    if size > SOURCE_MAX {
        return Err(single(format!(
            "expression code point size exceeds limit: size: {size}, limit {SOURCE_MAX}"
        )));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let handle = thread.spawn_scoped(scope, || parse_and_check(source, environment));
        match handle.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(single("internal error while parsing".to_owned())),
            Err(error) => Err(single(format!("cannot start the parser: {error}"))),
        }
    })
}

fn parse_and_check(source: &str, environment: &Environment) -> Result<Compiled, CompileError> {
    let expression = syntax::parse(source)
        .map_err(|error| CompileError { issues: vec![issue(source, error.at, error.message)] })?;
    let mut checker = Checker {
        environment,
        source,
        issues: Vec::new(),
        scope: Vec::new(),
        uses: BTreeSet::new(),
        depth: 0,
        mixed: false,
    };
    let (node, result) = checker.check(&expression);
    if checker.issues.is_empty() {
        return Ok(Compiled { node, result, uses: checker.uses.into_iter().collect() });
    }
    let mut issues = checker.issues;
    issues.sort_by_key(|issue| (issue.line, issue.column));
    issues.dedup();
    issues.truncate(ISSUES_MAX);
    Err(CompileError { issues })
}

/// A problem at that byte of the source.
fn issue(source: &str, at: usize, message: String) -> Issue {
    let before = &source[..at.min(source.len())];
    let line = before.matches('\n').count();
    let column = before.chars().rev().take_while(|sign| *sign != '\n').count() + 1;
    let snippet = source.lines().nth(line).unwrap_or_default().to_owned();
    Issue { line: line + 1, column, message, snippet }
}

/// Lowers and checks one expression. Problems are gathered; what has one is of type `Dyn`, so that it causes no others.
struct Checker<'e> {
    environment: &'e Environment,
    source: &'e str,
    issues: Vec<Issue>,
    /// Names bound by macros, outermost first: their place is their place on the evaluation's stack.
    scope: Vec<(String, Type)>,
    uses: BTreeSet<String>,
    depth: usize,
    /// Inside of the arguments of `format`, which lists values of any types.
    mixed: bool,
}

type Checked = (Node, Type);

fn nothing() -> Checked {
    (Node::Literal(crate::Value::Null), Type::Dyn)
}

impl Checker<'_> {
    fn check(&mut self, expression: &Term) -> Checked {
        if self.depth >= DEPTH_MAX {
            self.issue(expression.at, format!("expression recursion limit exceeded: {DEPTH_MAX}"));
            return nothing();
        }
        self.depth += 1;
        let checked = self.check_one(expression);
        self.depth -= 1;
        checked
    }

    fn check_one(&mut self, expression: &Term) -> Checked {
        match &expression.expr {
            Expr::Literal(value) => (Node::Literal(value.clone()), literals::type_of(value)),
            Expr::Name(name) => self.name(expression.at, name),
            Expr::Select(select) if select.optional => {
                self.optional_select(select, Select::Optional)
            }
            Expr::Select(select) => self.select(expression.at, select, Select::Field),
            Expr::Call(call) => self.call(expression.at, call),
            Expr::List(list) => self.list(expression.at, list),
            Expr::Map(entries) => self.map(entries),
            Expr::Struct { name, fields } => self.object(expression.at, name, fields),
        }
    }

    /// `operand.field`, unless the whole spells a name.
    fn select(&mut self, at: usize, select: &syntax::Select, mode: Select) -> Checked {
        if let Some(segments) = names::segments(select)
            && let Some(named) = self.qualified(at, &segments, mode)
        {
            return named;
        }
        let (operand, of) = self.check(&select.operand);
        let result = self.field(at, &of, &select.field);
        let (operand, field) = (Box::new(operand), select.field.as_str().into());
        let result = match (mode, &of) {
            (Select::Test, _) => Type::Bool,
            (_, Type::Optional(_)) | (Select::Optional, _) => Type::optional(result),
            _ => result,
        };
        (Node::Select { operand, field, mode }, result)
    }

    fn field(&mut self, at: usize, of: &Type, field: &str) -> Type {
        match of {
            Type::Dyn | Type::Param(_) => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            Type::Optional(inner) => self.field(at, inner, field),
            Type::Object(object) => match &object.fields {
                None => Type::Dyn,
                Some(fields) => fields.get(field).cloned().unwrap_or_else(|| {
                    self.issue(at, format!("undefined field '{field}'"));
                    Type::Dyn
                }),
            },
            other => {
                self.issue(at, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        }
    }

    fn issue(&mut self, at: usize, message: impl Into<String>) {
        self.issues.push(issue(self.source, at, message.into()));
    }
}
