//! What a name stands for: a macro's variable, a declared one, a composed one, or a type.

use super::{Checked, Checker, nothing};
use crate::{
    node::{Node, Select},
    syntax::{self, Expr},
    types::Type,
    value::Value,
};

const TYPES: [&str; 18] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "optional_type",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "net.IP",
    "net.CIDR",
    "kubernetes.Quantity",
    "kubernetes.URL",
    "kubernetes.Semver",
];

/// The parts of `a.b.c`, if the selection is nothing else.
pub(super) fn segments(select: &syntax::Select) -> Option<Vec<&str>> {
    if select.optional {
        return None;
    }
    let mut names = vec![select.field.as_str()];
    let mut operand = &select.operand.expr;
    loop {
        match operand {
            Expr::Name(name) => {
                names.push(name.as_str());
                names.reverse();
                return Some(names);
            }
            Expr::Select(inner) if !inner.optional => {
                names.push(inner.field.as_str());
                operand = &inner.operand.expr;
            }
            _ => return None,
        }
    }
}

impl Checker<'_> {
    pub(super) fn is_local(&self, name: &str) -> bool {
        self.scope.iter().any(|(known, _)| known == name)
    }

    pub(super) fn name(&mut self, at: usize, name: &str) -> Checked {
        let name = name.trim_start_matches('.');
        if let Some(place) = self.scope.iter().rposition(|(known, _)| known == name) {
            return (Node::Local(place), self.scope[place].1.clone());
        }
        if let Some(of) = self.environment.variables.get(name) {
            self.uses.insert(name.to_owned());
            return (Node::Variable(name.into()), of.clone());
        }
        if TYPES.contains(&name) {
            return (Node::Literal(Value::Type(name.into())), Type::Type);
        }
        self.issue(at, format!("undeclared reference to '{name}' (in container '')"));
        nothing()
    }

    /// A qualified name that is declared as such.
    pub(super) fn qualified(
        &mut self,
        at: usize,
        segments: &[&str],
        mode: Select,
    ) -> Option<Checked> {
        if self.is_local(segments[0]) {
            return None;
        }
        if segments[0] == "variables"
            && segments.len() == 2
            && !self.environment.variables.contains_key("variables")
        {
            return self.composed(at, segments[1], mode);
        }
        let full = segments.join(".");
        let known =
            self.environment.variables.contains_key(&full) || TYPES.contains(&full.as_str());
        if !known {
            return None;
        }
        match mode {
            Select::Test => Some((Node::Literal(Value::Bool(true)), Type::Bool)),
            _ => Some(self.name(at, &full)),
        }
    }

    fn composed(&mut self, at: usize, name: &str, mode: Select) -> Option<Checked> {
        let Some(of) = self.environment.composed.get(name) else {
            if self.environment.composed.is_empty() {
                return None;
            }
            self.issue(at, format!("undefined field '{name}'"));
            return Some(nothing());
        };
        self.uses.insert(format!("variables.{name}"));
        Some(match mode {
            Select::Test => (Node::Literal(Value::Bool(true)), Type::Bool),
            _ => (Node::Composed(name.into()), of.clone()),
        })
    }
}
