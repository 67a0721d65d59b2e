//! From text to a checked tree. The only place that knows the crate `cel`: its parser's tree is lowered here, macros included.

mod calls;
mod literals;
mod macros;
mod names;

use std::collections::BTreeSet;

use cel::common::ast::{Expr, IdedExpr, SelectExpr, SourceInfo};

use crate::{
    environment::Environment,
    node::{Node, Select},
    program::{CompileError, Issue},
    types::Type,
};

/// cel-go's limit on the size of an expression, in code points.
const SOURCE_MAX: usize = 100_000;
/// cel-go's limit on nesting.
const DEPTH_MAX: usize = 250;
/// Signs that may nest one node in another; bounds the parser's own recursion.
const SIGNS_MAX: usize = 10_000;
/// The parser recurses once per sign. Reserved, not used, by ordinary expressions.
const STACK_BYTES: usize = 512 << 20;
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
    if source.chars().filter(|sign| ".[({+-*/%<>=!?&|,".contains(*sign)).count() > SIGNS_MAX {
        return Err(single(format!("expression recursion limit exceeded: {DEPTH_MAX}")));
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
    let parser =
        cel::Env::default().with_optional_support(true).parser().enable_ident_escape_syntax(true);
    let (expression, info) =
        parser.parse_with_source_info(source).map_err(|errors| syntax(source, &errors))?;
    let mut checker = Checker {
        environment,
        info,
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

fn syntax(source: &str, errors: &cel::ParseErrors) -> CompileError {
    let place = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    let issues = errors.errors.iter().take(ISSUES_MAX).map(|error| Issue {
        line: place(error.pos.0),
        column: place(error.pos.1),
        message: error.msg.clone(),
        snippet: source.lines().nth(place(error.pos.0) - 1).unwrap_or_default().to_owned(),
    });
    CompileError { issues: issues.collect() }
}

/// Lowers and checks one expression. Problems are gathered; what has one is of type `Dyn`, so that it causes no others.
struct Checker<'e> {
    environment: &'e Environment,
    info: SourceInfo,
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
    fn check(&mut self, expression: &IdedExpr) -> Checked {
        if self.depth >= DEPTH_MAX {
            self.issue(expression.id, format!("expression recursion limit exceeded: {DEPTH_MAX}"));
            return nothing();
        }
        self.depth += 1;
        let checked = self.check_one(expression);
        self.depth -= 1;
        checked
    }

    fn check_one(&mut self, expression: &IdedExpr) -> Checked {
        match &expression.expr {
            Expr::Literal(literal) => literals::literal(literal),
            Expr::Ident(name) => self.name(expression.id, name),
            Expr::Select(select) => self.select(expression.id, select, Select::Field),
            Expr::Call(call) => self.call(expression.id, call),
            Expr::List(list) => self.list(expression.id, list),
            Expr::Map(map) => self.map(map),
            Expr::Struct(object) => self.object(expression.id, object),
            Expr::Unspecified | Expr::Comprehension(_) => {
                self.issue(expression.id, "unsupported expression");
                nothing()
            }
        }
    }

    /// `operand.field`, unless the whole spells a name.
    fn select(&mut self, id: u64, select: &SelectExpr, mode: Select) -> Checked {
        if let Some(segments) = names::segments(select)
            && let Some(named) = self.qualified(id, &segments, mode)
        {
            return named;
        }
        let (operand, of) = self.check(&select.operand);
        let result = self.field(id, &of, &select.field);
        let (operand, field) = (Box::new(operand), select.field.as_str().into());
        let result = match (mode, &of) {
            (Select::Test, _) => Type::Bool,
            (_, Type::Optional(_)) | (Select::Optional, _) => Type::optional(result),
            _ => result,
        };
        (Node::Select { operand, field, mode }, result)
    }

    fn field(&mut self, id: u64, of: &Type, field: &str) -> Type {
        match of {
            Type::Dyn | Type::Param(_) => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            Type::Optional(inner) => self.field(id, inner, field),
            Type::Object(object) => match &object.fields {
                None => Type::Dyn,
                Some(fields) => fields.get(field).cloned().unwrap_or_else(|| {
                    self.issue(id, format!("undefined field '{field}'"));
                    Type::Dyn
                }),
            },
            other => {
                self.issue(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        }
    }

    fn issue(&mut self, id: u64, message: impl Into<String>) {
        let offset = self.info.offset_for(id).map_or(0, |(start, _)| start as usize);
        let before: Vec<char> = self.info.source.chars().take(offset).collect();
        let line = before.iter().filter(|sign| **sign == '\n').count();
        let column = before.iter().rev().take_while(|sign| **sign != '\n').count() + 1;
        let snippet = self.info.source.lines().nth(line).unwrap_or_default().to_owned();
        self.issues.push(Issue { line: line + 1, column, message: message.into(), snippet });
    }
}
