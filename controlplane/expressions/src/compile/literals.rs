//! Literals, lists, maps and objects.

use super::{Checked, Checker, nothing};
use crate::{
    node::Node,
    syntax::{Entry, Field, Term},
    types::{Type, join},
    value::Value,
};

pub(super) fn type_of(literal: &Value) -> Type {
    match literal {
        Value::Bool(_) => Type::Bool,
        Value::Bytes(_) => Type::Bytes,
        Value::Double(_) => Type::Double,
        Value::Int(_) => Type::Int,
        Value::Null => Type::Null,
        Value::String(_) => Type::String,
        Value::Uint(_) => Type::Uint,
        // The grammar has no literals of other types.
        _ => Type::Dyn,
    }
}

/// What an entry marked with `?` holds.
fn held(of: Type, optional: bool) -> Type {
    match of {
        Type::Optional(inner) if optional => (*inner).clone(),
        other => other,
    }
}

impl Checker<'_> {
    pub(super) fn list(&mut self, at: usize, list: &[(Term, bool)]) -> Checked {
        let mut items = Vec::with_capacity(list.len());
        let mut item_type: Option<Type> = None;
        for (item, optional) in list {
            let (node, of) = self.check(item);
            let of = held(of, *optional);
            item_type = Some(match item_type {
                None => of,
                Some(known) => self.same(at, known, &of),
            });
            items.push((node, *optional));
        }
        // An empty list is a list of whatever is needed.
        (Node::List(items), Type::list(item_type.unwrap_or(Type::Dyn)))
    }

    /// Items of a literal are of one type (upstream `HomogeneousAggregateLiterals`).
    fn same(&mut self, at: usize, known: Type, next: &Type) -> Type {
        let joined = join(known.clone(), next);
        if !self.mixed && joined == Type::Dyn && known != Type::Dyn && *next != Type::Dyn {
            self.issue(at, format!("expected type '{known}' but found '{next}'"));
        }
        joined
    }

    pub(super) fn map(&mut self, map: &[Entry]) -> Checked {
        let mut entries = Vec::with_capacity(map.len());
        let (mut key_type, mut value_type) = (None, None);
        for entry in map {
            let (key, key_of) = self.check(&entry.key);
            let (value, value_of) = self.check(&entry.value);
            let value_of = held(value_of, entry.optional);
            key_type = Some(match key_type {
                None => key_of,
                Some(known) => join(known, &key_of),
            });
            value_type = Some(match value_type {
                None => value_of,
                Some(known) => join(known, &value_of),
            });
            entries.push((key, value, entry.optional));
        }
        let of = Type::map(key_type.unwrap_or(Type::Dyn), value_type.unwrap_or(Type::Dyn));
        (Node::Map(entries), of)
    }

    pub(super) fn object(&mut self, at: usize, name: &str, entries: &[Field]) -> Checked {
        let name = name.trim_start_matches('.');
        let Some(of) = self.environment.object_type(name) else {
            self.issue(at, format!("undeclared reference to '{name}' (in container '')"));
            return nothing();
        };
        let mut fields = Vec::with_capacity(entries.len());
        for field in entries {
            let wanted = self.field(field.at, &of, &field.name);
            let (value, found) = self.check(&field.value);
            let found = held(found, field.optional);
            if !found.fits(&wanted) {
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{found}'",
                    field.name
                );
                self.issue(field.at, message);
            }
            fields.push((field.name.clone(), value, field.optional));
        }
        (Node::Object { name: name.into(), fields }, of)
    }
}
