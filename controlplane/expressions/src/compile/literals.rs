//! Literals, lists, maps and objects.

use cel::common::ast::{EntryExpr, ListExpr, LiteralValue, MapExpr, StructExpr};

use super::{Checked, Checker, nothing};
use crate::{
    node::Node,
    types::{Type, join},
    value::Value,
};

pub(super) fn literal(literal: &LiteralValue) -> Checked {
    let (value, of) = match literal {
        LiteralValue::Boolean(value) => (Value::Bool(*value.inner()), Type::Bool),
        LiteralValue::Bytes(value) => (Value::Bytes(value.inner().into()), Type::Bytes),
        LiteralValue::Double(value) => (Value::Double(*value.inner()), Type::Double),
        LiteralValue::Int(value) => (Value::Int(*value.inner()), Type::Int),
        LiteralValue::Null => (Value::Null, Type::Null),
        LiteralValue::String(value) => (Value::text(value.inner()), Type::String),
        LiteralValue::UInt(value) => (Value::Uint(*value.inner()), Type::Uint),
    };
    (Node::Literal(value), of)
}

/// What an entry marked with `?` holds.
fn held(of: Type, optional: bool) -> Type {
    match of {
        Type::Optional(inner) if optional => (*inner).clone(),
        other => other,
    }
}

impl Checker<'_> {
    pub(super) fn list(&mut self, id: u64, list: &ListExpr) -> Checked {
        let mut items = Vec::with_capacity(list.elements.len());
        let mut item_type: Option<Type> = None;
        for (index, element) in list.elements.iter().enumerate() {
            let optional = list.optional_indices.contains(&index);
            let (node, of) = self.check(element);
            let of = held(of, optional);
            item_type = Some(match item_type {
                None => of,
                Some(known) => self.same(id, known, &of),
            });
            items.push((node, optional));
        }
        // An empty list is a list of whatever is needed.
        (Node::List(items), Type::list(item_type.unwrap_or(Type::Dyn)))
    }

    /// Items of a literal are of one type (upstream `HomogeneousAggregateLiterals`).
    fn same(&mut self, id: u64, known: Type, next: &Type) -> Type {
        let joined = join(known.clone(), next);
        if !self.mixed && joined == Type::Dyn && known != Type::Dyn && *next != Type::Dyn {
            self.issue(id, format!("expected type '{known}' but found '{next}'"));
        }
        joined
    }

    pub(super) fn map(&mut self, map: &MapExpr) -> Checked {
        let mut entries = Vec::with_capacity(map.entries.len());
        let (mut key_type, mut value_type) = (None, None);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
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

    pub(super) fn object(&mut self, id: u64, object: &StructExpr) -> Checked {
        let name = object.type_name.trim_start_matches('.');
        let Some(of) = self.environment.object_type(name) else {
            self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
            return nothing();
        };
        let mut fields = Vec::with_capacity(object.entries.len());
        for entry in &object.entries {
            let EntryExpr::StructField(field) = &entry.expr else { continue };
            let wanted = self.field(entry.id, &of, &field.field);
            let (value, found) = self.check(&field.value);
            let found = held(found, field.optional);
            if !found.fits(&wanted) {
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{found}'",
                    field.field
                );
                self.issue(entry.id, message);
            }
            fields.push((field.field.clone(), value, field.optional));
        }
        (Node::Object { name: name.into(), fields }, of)
    }
}
