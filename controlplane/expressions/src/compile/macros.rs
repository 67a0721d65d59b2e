//! Macros: calls whose arguments are names and bodies.

use std::collections::BTreeMap;

use super::{Checked, Checker, nothing};
use crate::{
    node::{Fold, FoldKind, Node, Select},
    scope::Scoped,
    syntax::{self, Call, Expr, Term},
    types::{Type, unify},
};

/// How a macro's arguments are laid out.
struct Shape {
    kind: FoldKind,
    names: usize,
    predicate: bool,
}

/// The macro that `target.function(arguments)` is.
fn shape(function: &str, arguments: usize) -> Option<Shape> {
    let (kind, names, predicate) = match (function, arguments) {
        ("all", 2) => (FoldKind::All, 1, false),
        ("all", 3) => (FoldKind::All, 2, false),
        ("exists", 2) => (FoldKind::Exists, 1, false),
        ("exists", 3) => (FoldKind::Exists, 2, false),
        ("exists_one" | "existsOne", 2) => (FoldKind::ExistsOne, 1, false),
        ("exists_one" | "existsOne", 3) => (FoldKind::ExistsOne, 2, false),
        ("filter", 2) => (FoldKind::Filter, 1, false),
        ("map", 2) => (FoldKind::Map, 1, false),
        ("map", 3) => (FoldKind::Map, 1, true),
        ("transformList", 3) => (FoldKind::Map, 2, false),
        ("transformList", 4) => (FoldKind::Map, 2, true),
        ("transformMap", 3) => (FoldKind::TransformMap, 2, false),
        ("transformMap", 4) => (FoldKind::TransformMap, 2, true),
        ("transformMapEntry", 3) => (FoldKind::TransformMapEntry, 2, false),
        ("transformMapEntry", 4) => (FoldKind::TransformMapEntry, 2, true),
        ("sortBy", 2) => (FoldKind::SortBy, 1, false),
        _ => return None,
    };
    Some(Shape { kind, names, predicate })
}

impl Checker<'_> {
    /// The call as a macro, if it is one.
    pub(super) fn expand(&mut self, at: usize, call: &Call) -> Option<Checked> {
        let arguments = call.arguments.as_slice();
        match (call.function.as_str(), &call.target, arguments) {
            ("has", None, [argument]) => Some(match &argument.expr {
                Expr::Select(select) if select.optional => {
                    self.optional_select(select, Select::Test)
                }
                Expr::Select(select) => self.select(argument.at, select, Select::Test),
                _ => {
                    self.issue(argument.at, "invalid argument to has() macro");
                    nothing()
                }
            }),
            ("bind", Some(target), [name, value, body]) if is_name(target, "cel") => {
                Some(self.bind(name, value, body))
            }
            ("optMap" | "optFlatMap", Some(target), [name, body]) => {
                Some(self.optional_map(target, name, body, call.function == "optFlatMap"))
            }
            ("or" | "orValue", Some(target), [other]) => {
                Some(self.optional_or(at, target, other, &call.function))
            }
            (function, Some(target), _) => {
                let shape = shape(function, arguments.len())?;
                Some(self.fold(at, target, arguments, &shape))
            }
            _ => None,
        }
    }

    /// `operand.?field`: an optional value, or whether there is one.
    pub(super) fn optional_select(&mut self, select: &syntax::Select, mode: Select) -> Checked {
        let (operand, of) = self.check(&select.operand);
        let result = self.field(select.operand.at, &of, &select.field);
        let result = if mode == Select::Test { Type::Bool } else { Type::optional(result) };
        let field = select.field.as_str().into();
        (Node::Select { operand: Box::new(operand), field, mode }, result)
    }

    fn simple_name(&mut self, name: &Term) -> String {
        if let Expr::Name(name) = &name.expr {
            return name.clone();
        }
        self.issue(name.at, "argument must be a simple name");
        String::new()
    }

    fn bind(&mut self, name: &Term, value: &Term, body: &Term) -> Checked {
        let name = self.simple_name(name);
        let (value, of) = self.check(value);
        let (body, result) = self.within([(name, of)], |this| this.check(body));
        (Node::Bind(Box::new([value, body])), result)
    }

    fn optional_map(&mut self, target: &Term, name: &Term, body: &Term, flat: bool) -> Checked {
        let (operand, of) = self.check(target);
        let inner = match of {
            Type::Optional(inner) => (*inner).clone(),
            _ => Type::Dyn,
        };
        let name = self.simple_name(name);
        let (body, result) = self.within([(name, inner)], |this| this.check(body));
        let result = if flat { result } else { Type::optional(result) };
        (Node::OptionalMap { parts: Box::new([operand, body]), flat }, result)
    }

    fn optional_or(&mut self, at: usize, target: &Term, other: &Term, function: &str) -> Checked {
        let (left, of) = self.check(target);
        let (right, alternative) = self.check(other);
        let value = function == "orValue";
        let inner = match &of {
            Type::Optional(inner) if value => Some((**inner).clone()),
            Type::Optional(_) | Type::Dyn => Some(of.clone()),
            _ => None,
        };
        let fits =
            inner.as_ref().is_some_and(|inner| unify(inner, &alternative, &mut BTreeMap::new()));
        if !fits {
            let message = format!(
                "found no matching overload for '{function}' applied to '{of}.({alternative})'"
            );
            self.issue(at, message);
        }
        let result = inner.filter(|inner| *inner != Type::Dyn).unwrap_or(alternative);
        (Node::OptionalOr { parts: Box::new([left, right]), value }, result)
    }

    fn fold(&mut self, at: usize, target: &Term, arguments: &[Term], shape: &Shape) -> Checked {
        let (range, of) = self.check(target);
        let (key, item) = match &of {
            Type::List(item) => (Type::Int, (**item).clone()),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            Type::Object(object) if object.fields.is_none() => (Type::String, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(at, message);
                (Type::Dyn, Type::Dyn)
            }
        };
        let over_list = matches!(of, Type::List(_));
        let first = self.simple_name(&arguments[0]);
        let mut names = Vec::new();
        if shape.names == 2 {
            let second = self.simple_name(&arguments[1]);
            names.extend([(first, key.clone()), (second, item.clone())]);
        } else {
            names.push((first, if over_list { item.clone() } else { key.clone() }));
        }
        let shown = names[0].1.clone();
        let rest = &arguments[shape.names..];
        let (predicate, (body, body_type)) = self.within(names, |this| {
            let predicate = shape.predicate.then(|| this.truth(&rest[0]));
            (predicate, this.fold_body(&rest[rest.len() - 1], shape.kind))
        });
        let result = match shape.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Type::Bool,
            FoldKind::Filter | FoldKind::SortBy => Type::list(shown),
            FoldKind::Map => Type::list(body_type),
            FoldKind::TransformMap => Type::map(key, body_type),
            FoldKind::TransformMapEntry => body_type,
        };
        let fold = Fold { kind: shape.kind, range, two_names: shape.names == 2, predicate, body };
        (Node::Fold(Box::new(fold)), result)
    }

    fn fold_body(&mut self, body: &Term, kind: FoldKind) -> Checked {
        let tests = matches!(
            kind,
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne | FoldKind::Filter
        );
        if tests { (self.truth(body), Type::Bool) } else { self.check(body) }
    }

    /// An expression that must be a bool.
    pub(super) fn truth(&mut self, expression: &Term) -> Node {
        let (node, of) = self.check(expression);
        if !of.fits(&Type::Bool) {
            self.issue(expression.at, format!("expected type 'bool' but found '{of}'"));
        }
        node
    }
}

impl Scoped<(String, Type)> for Checker<'_> {
    fn scope(&mut self) -> &mut Vec<(String, Type)> {
        &mut self.scope
    }
}

fn is_name(expression: &Term, wanted: &str) -> bool {
    matches!(&expression.expr, Expr::Name(name) if name == wanted)
}
