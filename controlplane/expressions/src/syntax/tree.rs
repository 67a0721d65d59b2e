//! What the parser makes: expressions as they are written, operators and macros as calls.

use crate::value::Value;

/// An expression and where it is: the byte of its sign (an operator, a bracket, a dot) or of its first letter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Term {
    pub(crate) at: usize,
    /// How many terms are nested in one another below it, itself included.
    pub(super) depth: usize,
    pub(crate) expr: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Literal(Value),
    Name(String),
    /// `operand.field`, or `operand.?field`.
    Select(Select),
    Call(Call),
    /// Items; `true` for one that is left out when it is none (`[?item]`).
    List(Vec<(Term, bool)>),
    Map(Vec<Entry>),
    Struct {
        name: String,
        fields: Vec<Field>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Select {
    pub(crate) operand: Box<Term>,
    pub(crate) field: String,
    pub(crate) optional: bool,
}

/// A call of a function, a macro, or an operator under cel-go's name (`_+_`, `@in`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) target: Option<Box<Term>>,
    pub(crate) arguments: Vec<Term>,
}

/// `key: value` of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Term,
    pub(crate) value: Term,
    pub(crate) optional: bool,
}

/// `name: value` of an object; `at` is its colon.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) at: usize,
    pub(crate) name: String,
    pub(crate) value: Term,
    pub(crate) optional: bool,
}

impl Expr {
    /// The terms directly below.
    pub(super) fn parts(&self) -> Vec<&Term> {
        match self {
            Self::Literal(_) | Self::Name(_) => Vec::new(),
            Self::Select(select) => vec![&select.operand],
            Self::Call(call) => call.target.as_deref().into_iter().chain(&call.arguments).collect(),
            Self::List(items) => items.iter().map(|(item, _)| item).collect(),
            Self::Map(entries) => {
                entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect()
            }
            Self::Struct { fields, .. } => fields.iter().map(|field| &field.value).collect(),
        }
    }
}
