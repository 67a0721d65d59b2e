//! What an expression may cost at most, told before there are values. Upstream: cel-go `checker/cost.go` with the numbers
//! of `apiserver/pkg/cel/library/cost.go`. They decide which rules a definition may have, so they are upstream's to the unit:
//! macros cost what their expansion costs, and sizes are looked up where upstream looks them up.

mod calls;
mod fold;
mod size;

use crate::{
    environment::Environment,
    node::{Node, Select},
    program::Program,
    scope::Scoped,
    types::{Type, join},
    value::Value,
};
pub use size::Extent;
use size::{Place, Size, Step, is_scalar};

const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const OBJECT_COST: u64 = 40;

impl Program {
    /// The cost of an evaluation at most, in cel-go's units. `environment` is what the program was compiled in; `root`
    /// says how large the values of its variables can be.
    #[must_use]
    pub fn cost_max(&self, environment: &Environment, root: &Extent) -> u64 {
        let mut estimator = Estimator { environment, root, scope: Vec::new() };
        estimator.node(&self.node).cost
    }
}

/// What is known of a part of an expression.
#[derive(Debug, Clone)]
struct Estimate<'e> {
    cost: u64,
    of: Type,
    size: Option<Size>,
    /// Sizes of keys and of values, or of nothing and of items.
    entry: Option<Entry>,
    place: Place<'e>,
    /// The number that it is.
    whole: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Size,
    value: Size,
}

impl<'e> Estimate<'e> {
    /// Something made by the expression; its size follows from its type if at all.
    fn made(cost: u64, of: Type) -> Self {
        let size = is_scalar(&of).then_some(Size::ONE);
        Self { cost, of, size, entry: None, place: Place::Nowhere, whole: None }
    }

    /// Something that is found at a place.
    fn found(cost: u64, of: Type, place: Place<'e>) -> Self {
        let size = place.size();
        let made = Self::made(cost, of);
        Self { size: size.or(made.size), place, ..made }
    }

    fn sized(self, size: Size) -> Self {
        Self { size: Some(size), ..self }
    }

    fn size_or_unknown(&self) -> Size {
        self.size.unwrap_or(Size::UNKNOWN)
    }
}

struct Estimator<'e> {
    environment: &'e Environment,
    root: &'e Extent,
    /// Names bound by macros, as on the evaluation's stack.
    scope: Vec<Estimate<'e>>,
}

impl<'e> Estimator<'e> {
    fn node(&mut self, node: &Node) -> Estimate<'e> {
        match node {
            Node::Literal(value) => self.literal(value),
            Node::Variable(name) => {
                let of = self.environment.variables.get(&**name).cloned().unwrap_or(Type::Dyn);
                Estimate::found(1, of, Place::At(Some(self.root)))
            }
            Node::Local(place) => Estimate { cost: 1, ..self.scope[*place].clone() },
            Node::Composed(name) => {
                let of = self.environment.composed.get(&**name).cloned();
                Estimate::made(1, of.unwrap_or(Type::Dyn))
            }
            Node::Select { operand, field, mode } => self.select(operand, field, *mode),
            Node::Call { function, arguments } => {
                let arguments: Vec<_> = arguments.iter().map(|node| self.node(node)).collect();
                calls::call(function, &arguments, self.root)
            }
            Node::And(parts) | Node::Or(parts) => {
                let cost = self.node(&parts[0]).cost.saturating_add(self.node(&parts[1]).cost);
                Estimate::made(cost, Type::Bool)
            }
            Node::Conditional(parts) => self.conditional(parts),
            Node::List(items) => self.list(items.iter().map(|(item, _)| item)),
            Node::Map(entries) => self.map(entries.iter().map(|(key, value, _)| (key, value))),
            Node::Object { name, fields } => {
                let cost = fields.iter().fold(OBJECT_COST, |sum, (_, value, _)| {
                    sum.saturating_add(self.node(value).cost)
                });
                let of = self.environment.object_type(name);
                Estimate::made(cost, of.unwrap_or(Type::Dyn))
            }
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(parts) => self.bind(parts),
            Node::OptionalMap { parts, flat } => self.optional_map(parts, *flat),
            Node::OptionalOr { parts, value } => self.optional_or(parts, *value),
        }
    }

    fn literal(&self, value: &Value) -> Estimate<'e> {
        let scalar = |of| Estimate::made(0, of).sized(Size::ONE);
        match value {
            // The name of a type is a name like a variable's.
            Value::Type(_) => Estimate::found(1, Type::Type, Place::At(Some(self.root))),
            Value::String(text) => {
                Estimate::made(0, Type::String).sized(Size::exactly(text.chars().count()))
            }
            Value::Bytes(bytes) => Estimate::made(0, Type::Bytes).sized(Size::exactly(bytes.len())),
            Value::Int(number) => Estimate { whole: Some(*number), ..scalar(Type::Int) },
            Value::Null => scalar(Type::Null),
            Value::Bool(_) => scalar(Type::Bool),
            Value::Uint(_) => scalar(Type::Uint),
            Value::Double(_) => scalar(Type::Double),
            _ => Estimate::made(0, Type::Dyn),
        }
    }

    fn select(&mut self, operand: &Node, field: &str, mode: Select) -> Estimate<'e> {
        let operand = self.node(operand);
        let of = field_type(&operand.of, field);
        match mode {
            Select::Test => Estimate::made(operand.cost, Type::Bool),
            Select::Optional => Estimate::made(operand.cost.saturating_add(1), Type::optional(of)),
            Select::Field => {
                let charged =
                    matches!(operand.of, Type::Map(..) | Type::Object(_) | Type::Param(_));
                let cost = operand.cost.saturating_add(u64::from(charged));
                Estimate::found(cost, of, operand.place.step(Step::Field(field), self.root))
            }
        }
    }

    fn conditional(&mut self, parts: &[Node; 3]) -> Estimate<'e> {
        let [test, yes, no] = parts.each_ref().map(|part| self.node(part));
        let size = yes.size_or_unknown().union(no.size_or_unknown());
        let entry = union(yes.entry, no.entry);
        let cost = test.cost.saturating_add(yes.cost.max(no.cost));
        Estimate { entry, ..Estimate::made(cost, join(yes.of, &no.of)).sized(size) }
    }

    fn list<'n>(&mut self, items: impl ExactSizeIterator<Item = &'n Node>) -> Estimate<'e> {
        let size = Size::exactly(items.len());
        let (mut cost, mut of, mut value) = (LIST_COST, None, empty_or_nothing(items.len()));
        for item in items {
            let item = self.node(item);
            cost = cost.saturating_add(item.cost);
            value = value.union(item.size_or_unknown());
            of = Some(of.map_or(item.of.clone(), |of| join(of, &item.of)));
        }
        let of = Type::list(of.unwrap_or(Type::Dyn));
        let entry = Some(Entry { key: Size::ONE, value });
        Estimate { entry, ..Estimate::made(cost, of).sized(size) }
    }

    fn map<'n>(
        &mut self,
        entries: impl ExactSizeIterator<Item = (&'n Node, &'n Node)>,
    ) -> Estimate<'e> {
        let size = Size::exactly(entries.len());
        let nothing = empty_or_nothing(entries.len());
        let (mut cost, mut entry) = (MAP_COST, Entry { key: nothing, value: nothing });
        let mut of: Option<(Type, Type)> = None;
        for (key, value) in entries {
            let (key, value) = (self.node(key), self.node(value));
            cost = cost.saturating_add(key.cost).saturating_add(value.cost);
            entry.key = entry.key.union(key.size_or_unknown());
            entry.value = entry.value.union(value.size_or_unknown());
            of = Some(match of {
                None => (key.of, value.of),
                Some((keys, values)) => (join(keys, &key.of), join(values, &value.of)),
            });
        }
        let (key, value) = of.unwrap_or((Type::Dyn, Type::Dyn));
        let made = Estimate::made(cost, Type::map(key, value)).sized(size);
        Estimate { entry: Some(entry), ..made }
    }

    /// Expands to a comprehension over an empty list.
    fn bind(&mut self, parts: &[Node; 2]) -> Estimate<'e> {
        let value = self.node(&parts[0]);
        let cost = value.cost.saturating_add(LIST_COST);
        let body = self.within([value], |this| this.node(&parts[1]));
        Estimate { cost: cost.saturating_add(body.cost), place: Place::Nowhere, ..body }
    }

    /// Expands to `target.hasValue() ? optional.of(cel.bind(name, target.value(), body)) : optional.none()`.
    fn optional_map(&mut self, parts: &[Node; 2], flat: bool) -> Estimate<'e> {
        let target = self.node(&parts[0]);
        let inner = match &target.of {
            Type::Optional(inner) => (**inner).clone(),
            _ => Type::Dyn,
        };
        let asked = target.cost.saturating_add(1);
        let body = self.within([Estimate::made(1, inner)], |this| this.node(&parts[1]));
        let made = asked.saturating_add(LIST_COST).saturating_add(body.cost);
        let (made, of) = match flat {
            true => (made, body.of),
            false => (made.saturating_add(1), Type::optional(body.of)),
        };
        Estimate::made(asked.saturating_add(made), of)
    }

    fn optional_or(&mut self, parts: &[Node; 2], value: bool) -> Estimate<'e> {
        let [target, other] = parts.each_ref().map(|part| self.node(part));
        let cost = target.cost.saturating_add(other.cost).saturating_add(1);
        let of = match (&target.of, value) {
            (Type::Optional(inner), true) if **inner != Type::Dyn => (**inner).clone(),
            (of @ Type::Optional(_), false) => of.clone(),
            _ => other.of,
        };
        Estimate::made(cost, of)
    }
}

impl<'e> Scoped<Estimate<'e>> for Estimator<'e> {
    fn scope(&mut self) -> &mut Vec<Estimate<'e>> {
        &mut self.scope
    }
}

fn empty_or_nothing(count: usize) -> Size {
    if count == 0 { Size::exactly(0) } else { Size::NOTHING }
}

fn union(one: Option<Entry>, other: Option<Entry>) -> Option<Entry> {
    let (one, other) = (one?, other?);
    Some(Entry { key: one.key.union(other.key), value: one.value.union(other.value) })
}

fn field_type(of: &Type, field: &str) -> Type {
    match of {
        Type::Map(_, value) => (**value).clone(),
        Type::Optional(inner) => Type::optional(field_type(inner, field)),
        Type::Object(object) => {
            let fields = object.fields.as_ref();
            fields.and_then(|fields| fields.get(field)).cloned().unwrap_or(Type::Dyn)
        }
        _ => Type::Dyn,
    }
}

#[cfg(test)]
mod tests;
