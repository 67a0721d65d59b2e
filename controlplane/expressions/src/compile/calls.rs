//! Calls: which function, and whether it takes these arguments.

use super::{Checked, Checker, names, nothing};
use crate::{
    functions::{self, Function},
    node::Node,
    syntax::{Call, Expr, Term},
    types::{Type, join},
};

impl Checker<'_> {
    pub(super) fn call(&mut self, at: usize, call: &Call) -> Checked {
        let name = call.function.trim_start_matches('.');
        match (name, call.arguments.as_slice()) {
            ("_&&_", [left, right]) => {
                let parts = [self.truth(left), self.truth(right)];
                return (Node::And(Box::new(parts)), Type::Bool);
            }
            ("_||_", [left, right]) => {
                let parts = [self.truth(left), self.truth(right)];
                return (Node::Or(Box::new(parts)), Type::Bool);
            }
            ("_?_:_", [test, yes, no]) => return self.conditional(at, test, yes, no),
            _ => {}
        }
        if let Some(function) = self.namespaced(call) {
            let (arguments, types) = self.arguments(&call.arguments);
            return self.apply(at, function, arguments, &types, false);
        }
        if let Some(expanded) = self.expand(at, call) {
            return expanded;
        }
        let member = call.target.is_some();
        let parts: Vec<&Term> = call.target.as_deref().into_iter().chain(&call.arguments).collect();
        let outside = self.mixed;
        self.mixed = outside || name == "format";
        let (arguments, types) = self.arguments(parts);
        self.mixed = outside;
        match functions::find(name) {
            Some(function) if function.signatures.iter().any(|one| one.member == member) => {
                self.apply(at, function, arguments, &types, member)
            }
            _ => {
                self.issue(at, format!("undeclared reference to '{name}' (in container '')"));
                nothing()
            }
        }
    }

    /// `math.greatest(..)`: a function whose name is qualified.
    fn namespaced(&self, call: &Call) -> Option<&'static Function> {
        let target = call.target.as_deref()?;
        let segments = match &target.expr {
            Expr::Name(name) => vec![name.as_str()],
            Expr::Select(select) => names::segments(select)?,
            _ => return None,
        };
        if self.is_local(segments[0]) || self.environment.variables.contains_key(segments[0]) {
            return None;
        }
        functions::find(&format!("{}.{}", segments.join("."), call.function))
    }

    fn arguments<'a>(
        &mut self,
        parts: impl IntoIterator<Item = &'a Term>,
    ) -> (Vec<Node>, Vec<Type>) {
        parts.into_iter().map(|part| self.check(part)).unzip()
    }

    fn conditional(&mut self, at: usize, test: &Term, yes: &Term, no: &Term) -> Checked {
        let test = self.truth(test);
        let (yes, of) = self.check(yes);
        let (no, other) = self.check(no);
        let result = join(of.clone(), &other);
        if result == Type::Dyn && of != Type::Dyn && other != Type::Dyn && !of.fits(&other) {
            let message = format!(
                "found no matching overload for '_?_:_' applied to '(bool, {of}, {other})'"
            );
            self.issue(at, message);
        }
        (Node::Conditional(Box::new([test, yes, no])), result)
    }

    /// The call with the result that its fitting signatures promise.
    fn apply(
        &mut self,
        at: usize,
        function: &'static Function,
        arguments: Vec<Node>,
        types: &[Type],
        member: bool,
    ) -> Checked {
        let Some(result) = function.promise(types, Some(member)) else {
            let name = function.name;
            let shown = applied(types, member);
            self.issue(at, format!("found no matching overload for '{name}' applied to '{shown}'"));
            return nothing();
        };
        self.check_constant(at, function, &arguments);
        (Node::Call { function, arguments }, result)
    }

    /// A literal that can never work is a mistake that shows at once: a regular expression, a quantity.
    fn check_constant(&mut self, at: usize, function: &'static Function, arguments: &[Node]) {
        if function.name == "matches"
            && let Some(Node::Literal(crate::Value::String(pattern))) = arguments.last()
            && let Err(error) = functions::patterns::pattern(pattern)
        {
            self.issue(at, error.to_string());
        }
    }
}

/// `string.(int)` or `(int, string)`.
fn applied(types: &[Type], member: bool) -> String {
    let join = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
    match types.split_first() {
        Some((receiver, rest)) if member => format!("{receiver}.({})", join(rest)),
        _ => format!("({})", join(types)),
    }
}
