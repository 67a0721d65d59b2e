//! Operators and the running results of macros.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use crate::{
    eval::Outcome,
    node::FoldKind,
    program::EvalError,
    value::{Key, List, ListKind, Map, Value, same_item},
};

/// What a macro over a list or map has gathered.
pub(crate) struct FoldState {
    kind: FoldKind,
    error: Option<EvalError>,
    decided: Option<bool>,
    count: u64,
    items: Vec<Value>,
    keys: Vec<Value>,
    entries: BTreeMap<Key, Value>,
}

impl FoldState {
    pub(crate) fn new(kind: FoldKind) -> Self {
        let (items, keys, entries) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { kind, error: None, decided: None, count: 0, items, keys, entries }
    }

    /// Takes the body's result for one element; false when no more are needed.
    pub(crate) fn add(
        &mut self,
        body: Outcome,
        key: &Value,
        shown: &Value,
    ) -> Result<bool, EvalError> {
        match self.kind {
            FoldKind::All | FoldKind::Exists => {
                let deciding = self.kind == FoldKind::Exists;
                match body {
                    Ok(Value::Bool(value)) if value == deciding => {
                        self.decided = Some(deciding);
                        return Ok(false);
                    }
                    Ok(Value::Bool(_)) => {}
                    Ok(_) => self.error = Some(EvalError::no_overload()),
                    Err(error) => self.error = Some(error),
                }
            }
            FoldKind::ExistsOne => self.count += u64::from(truth(&body?)?),
            FoldKind::Filter => {
                if truth(&body?)? {
                    self.items.push(shown.clone());
                }
            }
            FoldKind::Map => self.items.push(body?),
            FoldKind::SortBy => {
                self.keys.push(body?);
                self.items.push(shown.clone());
            }
            FoldKind::TransformMap => {
                let key = key.key().ok_or_else(|| EvalError::failed("unsupported key type"))?;
                self.entries.insert(key, body?);
            }
            FoldKind::TransformMapEntry => {
                let Value::Map(made) = body? else { return Err(EvalError::no_overload()) };
                for (key, value) in &made.entries {
                    if self.entries.insert(key.clone(), value.clone()).is_some() {
                        return Err(EvalError::failed(format!(
                            "insert failed: key {} already exists",
                            key_text(key)
                        )));
                    }
                }
            }
        }
        Ok(true)
    }

    pub(crate) fn finish(self) -> Outcome {
        match self.kind {
            FoldKind::All | FoldKind::Exists => match (self.decided, self.error) {
                (Some(decided), _) => Ok(Value::Bool(decided)),
                (None, Some(error)) => Err(error),
                (None, None) => Ok(Value::Bool(self.kind == FoldKind::All)),
            },
            FoldKind::ExistsOne => Ok(Value::Bool(self.count == 1)),
            FoldKind::Filter | FoldKind::Map => Ok(Value::list(self.items)),
            FoldKind::TransformMap | FoldKind::TransformMapEntry => {
                Ok(Value::Map(Arc::new(Map { entries: self.entries, object: None })))
            }
            FoldKind::SortBy => {
                let mut pairs: Vec<_> = self.keys.into_iter().zip(self.items).collect();
                pairs.sort_by(|a, b| a.0.compare(&b.0).unwrap_or(Ordering::Equal));
                Ok(Value::list(pairs.into_iter().map(|pair| pair.1).collect()))
            }
        }
    }
}

fn truth(value: &Value) -> Result<bool, EvalError> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(EvalError::no_overload()),
    }
}

pub(crate) fn key_text(key: &Key) -> String {
    match key {
        Key::Bool(value) => value.to_string(),
        Key::Int(value) => value.to_string(),
        Key::Uint(value) => value.to_string(),
        Key::Text(text) => text.to_string(),
    }
}

fn overflow() -> EvalError {
    EvalError::failed("integer overflow")
}

fn time_overflow() -> EvalError {
    EvalError::failed("timestamp overflow")
}

pub(crate) fn add(arguments: &[Value]) -> Outcome {
    Ok(match (&arguments[0], &arguments[1]) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_add(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_add(*b).ok_or_else(overflow)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
        (Value::String(a), Value::String(b)) => Value::text([&**a, &**b].concat()),
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes([&**a, &**b].concat().into()),
        (Value::List(a), Value::List(b)) => add_lists(a, b),
        (Value::Timestamp(a), Value::Duration(b)) | (Value::Duration(b), Value::Timestamp(a)) => {
            Value::Timestamp(a.checked_add(*b).map_err(|_| time_overflow())?)
        }
        (Value::Duration(a), Value::Duration(b)) => {
            Value::Duration(a.checked_add(*b).ok_or_else(overflow)?)
        }
        _ => return Err(EvalError::no_overload()),
    })
}

/// Sets add what is new; associative lists replace items of the same key in place (upstream `UnstructuredToVal`).
fn add_lists(a: &List, b: &List) -> Value {
    let mut items = a.items.clone();
    match &a.kind {
        ListKind::Atomic => items.extend(b.items.iter().cloned()),
        ListKind::Set => {
            for item in &b.items {
                if !items.contains(item) {
                    items.push(item.clone());
                }
            }
        }
        ListKind::Map(keys) => {
            for item in &b.items {
                match items.iter_mut().find(|known| same_item(known, item, keys)) {
                    Some(known) => *known = item.clone(),
                    None => items.push(item.clone()),
                }
            }
        }
    }
    Value::List(Arc::new(List { items, kind: a.kind.clone() }))
}

pub(crate) fn subtract(arguments: &[Value]) -> Outcome {
    Ok(match (&arguments[0], &arguments[1]) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_sub(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_sub(*b).ok_or_else(overflow)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a - b),
        (Value::Timestamp(a), Value::Timestamp(b)) => Value::Duration(a.duration_since(*b)),
        (Value::Timestamp(a), Value::Duration(b)) => {
            Value::Timestamp(a.checked_sub(*b).map_err(|_| time_overflow())?)
        }
        (Value::Duration(a), Value::Duration(b)) => {
            Value::Duration(a.checked_sub(*b).ok_or_else(overflow)?)
        }
        _ => return Err(EvalError::no_overload()),
    })
}

pub(crate) fn multiply(arguments: &[Value]) -> Outcome {
    Ok(match (&arguments[0], &arguments[1]) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_mul(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_mul(*b).ok_or_else(overflow)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a * b),
        _ => return Err(EvalError::no_overload()),
    })
}

pub(crate) fn divide(arguments: &[Value]) -> Outcome {
    let zero = || EvalError::failed("division by zero");
    Ok(match (&arguments[0], &arguments[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => return Err(zero()),
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_div(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a / b),
        (Value::Double(a), Value::Double(b)) => Value::Double(a / b),
        _ => return Err(EvalError::no_overload()),
    })
}

pub(crate) fn modulo(arguments: &[Value]) -> Outcome {
    let zero = || EvalError::failed("modulus by zero");
    Ok(match (&arguments[0], &arguments[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => return Err(zero()),
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_rem(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a % b),
        _ => return Err(EvalError::no_overload()),
    })
}

pub(crate) fn negate(arguments: &[Value]) -> Outcome {
    Ok(match &arguments[0] {
        Value::Int(a) => Value::Int(a.checked_neg().ok_or_else(overflow)?),
        Value::Double(a) => Value::Double(-a),
        Value::Duration(a) => Value::Duration(a.checked_neg().ok_or_else(overflow)?),
        _ => return Err(EvalError::no_overload()),
    })
}

pub(crate) fn not(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(!truth(&arguments[0])?))
}

pub(crate) fn equals(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(arguments[0] == arguments[1]))
}

pub(crate) fn differs(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(arguments[0] != arguments[1]))
}

fn ordered(arguments: &[Value], accept: impl Fn(Ordering) -> bool) -> Outcome {
    let nan =
        arguments.iter().any(|value| matches!(value, Value::Double(number) if number.is_nan()));
    match arguments[0].compare(&arguments[1]) {
        Some(order) => Ok(Value::Bool(accept(order))),
        None if nan => Ok(Value::Bool(false)),
        None => Err(EvalError::no_overload()),
    }
}

pub(crate) fn less(arguments: &[Value]) -> Outcome {
    ordered(arguments, Ordering::is_lt)
}

pub(crate) fn less_or_equal(arguments: &[Value]) -> Outcome {
    ordered(arguments, Ordering::is_le)
}

pub(crate) fn greater(arguments: &[Value]) -> Outcome {
    ordered(arguments, Ordering::is_gt)
}

pub(crate) fn greater_or_equal(arguments: &[Value]) -> Outcome {
    ordered(arguments, Ordering::is_ge)
}

pub(crate) fn contained(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(match &arguments[1] {
        Value::List(list) => list.items.contains(&arguments[0]),
        Value::Map(map) => arguments[0].key().is_some_and(|key| map.entries.contains_key(&key)),
        _ => return Err(EvalError::no_overload()),
    }))
}

pub(crate) fn index(arguments: &[Value]) -> Outcome {
    match &arguments[0] {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => optional_index(&[(**inner).clone(), arguments[1].clone()]),
        target => find(target, &arguments[1])?.map_err(EvalError::Failed),
    }
}

pub(crate) fn optional_index(arguments: &[Value]) -> Outcome {
    match &arguments[0] {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => optional_index(&[(**inner).clone(), arguments[1].clone()]),
        target => Ok(find(target, &arguments[1])?.map_or(Value::Optional(None), Value::some)),
    }
}

/// The part under an index, or the message that it is missing.
fn find(target: &Value, index: &Value) -> Result<Result<Value, String>, EvalError> {
    match target {
        Value::List(list) => {
            let Some(Key::Int(place)) = index.key() else { return Err(EvalError::no_overload()) };
            let item = usize::try_from(place).ok().and_then(|place| list.items.get(place));
            Ok(item.cloned().ok_or_else(|| format!("index out of bounds: {place}")))
        }
        Value::Map(map) => {
            let Some(key) = index.key() else { return Err(EvalError::no_overload()) };
            Ok(map
                .entries
                .get(&key)
                .cloned()
                .ok_or_else(|| format!("no such key: {}", key_text(&key))))
        }
        _ => Err(EvalError::no_overload()),
    }
}
