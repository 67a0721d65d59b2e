//! A checked expression: names are resolved, macros are nodes of their own.

use std::sync::Arc;

use crate::{functions::Function, value::Value};

#[derive(Debug)]
pub(crate) enum Node {
    Literal(Value),
    Variable(Arc<str>),
    /// A name bound by a macro: its place on the stack.
    Local(usize),
    /// `variables.name`, evaluated at most once.
    Composed(Arc<str>),
    Select {
        operand: Box<Node>,
        field: Arc<str>,
        mode: Select,
    },
    Call {
        function: &'static Function,
        arguments: Vec<Node>,
    },
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Conditional(Box<[Node; 3]>),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Object {
        name: Arc<str>,
        fields: Vec<(String, Node, bool)>,
    },
    Fold(Box<Fold>),
    /// `cel.bind(name, value, body)`.
    Bind(Box<[Node; 2]>),
    /// `optional.optMap(name, body)`; flat when the body is an optional itself.
    OptionalMap {
        parts: Box<[Node; 2]>,
        flat: bool,
    },
    /// `optional.or(optional)` and `optional.orValue(value)`.
    OptionalOr {
        parts: Box<[Node; 2]>,
        value: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Select {
    Field,
    /// `has(operand.field)`.
    Test,
    /// `operand.?field`.
    Optional,
}

/// A macro over the elements of a list or map. Pushes one or two names for its body.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) kind: FoldKind,
    pub(crate) range: Node,
    pub(crate) two_names: bool,
    /// `map(x, predicate, body)`; and the predicate of `transformList` and its kin.
    pub(crate) predicate: Option<Node>,
    pub(crate) body: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// Also `transformList`.
    Map,
    TransformMap,
    TransformMapEntry,
    SortBy,
}
