//! CEL, Kubernetes' expression language: compile, check, evaluate within a budget.
//!
//! Our own, because Kubernetes promises what general interpreters do not offer: cost counted as cel-go counts it, types
//! checked when an expression is stored, limits on nesting that hostile sources cannot pass, objects whose field names
//! are escaped, and a function library of its own. Pure: no I/O, no clock.

mod budget;
mod compile;
mod environment;
mod escape;
mod estimate;
mod eval;
mod functions;
mod json;
mod node;
mod operators;
mod program;
mod scope;
mod syntax;
mod types;
mod value;
mod variables;

pub use budget::{Budget, EXPRESSION_COST_MAX, REQUEST_COST_MAX};
pub use environment::Environment;
pub use escape::{escape, unescape};
pub use estimate::Extent;
pub use functions::authorizer::{
    AccessDecision, AccessQuery, AccessTarget, Authorize, ResourceCheck,
};
pub use program::{CompileError, EvalError, Issue, Program};
pub use types::{ObjectType, Type};
pub use value::{Key, List, ListKind, Map, Value};
pub use variables::Variables;
