//! Lists and sets (upstream `library/lists.go`, cel-go `ext/sets.go` and `ext/lists.go`).

use std::cmp::Ordering;

use super::{Cost, Row, items, whole};
use crate::{eval::Outcome, operators, program::EvalError, value::Value};

/// `lists.range(n)` and `flatten` make lists as long as their arguments say; this bounds them.
const RANGE_MAX: i64 = 1_000_000;

pub(super) const ROWS: &[Row] = &[
    ("isSorted", &["list<A>.()->bool"], is_sorted, Cost::Walk),
    ("sum", &["list<A>.()->A"], sum, Cost::Walk),
    ("min", &["list<A>.()->A"], |args| extreme(args, Ordering::Less, "min"), Cost::Walk),
    ("max", &["list<A>.()->A"], |args| extreme(args, Ordering::Greater, "max"), Cost::Walk),
    ("slice", &["list<A>.(int, int)->list<A>"], slice, Cost::Walk),
    ("sort", &["list<A>.()->list<A>"], sort, Cost::Walk),
    ("distinct", &["list<A>.()->list<A>"], distinct, Cost::Cross),
    ("flatten", &["list<A>.()->list<dyn>", "list<A>.(int)->list<dyn>"], flatten, Cost::Walk),
    (
        "first",
        &["list<A>.()->optional<A>"],
        |args| Ok(optional(items(args, 0)?.first())),
        Cost::One,
    ),
    ("last", &["list<A>.()->optional<A>"], |args| Ok(optional(items(args, 0)?.last())), Cost::One),
    ("lists.range", &["(int)->list<int>"], list_range, Cost::One),
    ("sets.contains", &["(list<A>, list<A>)->bool"], |args| within(args, 1, 0), Cost::Cross),
    ("sets.equivalent", &["(list<A>, list<A>)->bool"], equivalent, Cost::Cross),
    ("sets.intersects", &["(list<A>, list<A>)->bool"], intersects, Cost::Cross),
];

fn optional(item: Option<&Value>) -> Value {
    item.map_or(Value::Optional(None), |item| Value::some(item.clone()))
}

fn order(one: &Value, other: &Value) -> Result<Ordering, EvalError> {
    one.compare(other).ok_or_else(EvalError::no_overload)
}

fn is_sorted(arguments: &[Value]) -> Outcome {
    for pair in items(arguments, 0)?.windows(2) {
        if order(&pair[0], &pair[1])?.is_gt() {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum(arguments: &[Value]) -> Outcome {
    let mut numbers = items(arguments, 0)?.iter().cloned();
    let Some(mut total) = numbers.next() else { return Ok(Value::Int(0)) };
    for number in numbers {
        total = operators::add(&[total, number])?;
    }
    match total {
        Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_) => Ok(total),
        _ => Err(EvalError::no_overload()),
    }
}

fn extreme(arguments: &[Value], wanted: Ordering, name: &str) -> Outcome {
    let mut values = items(arguments, 0)?.iter();
    let empty = || EvalError::failed(format!("{name} called on empty list"));
    let mut best = values.next().ok_or_else(empty)?;
    for value in values {
        if order(value, best)? == wanted {
            best = value;
        }
    }
    Ok(best.clone())
}

fn slice(arguments: &[Value]) -> Outcome {
    let list = items(arguments, 0)?;
    let (start, end) = (whole(arguments, 1)?, whole(arguments, 2)?);
    let places = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let part = places.and_then(|(start, end)| list.get(start..end));
    let part = part.ok_or_else(|| {
        EvalError::failed(format!("cannot slice({start}, {end}), list is length {}", list.len()))
    })?;
    Ok(Value::list(part.to_vec()))
}

fn sort(arguments: &[Value]) -> Outcome {
    let mut list = items(arguments, 0)?.to_vec();
    if let Some(first) = list.first() {
        for item in &list {
            order(first, item)?;
        }
    }
    list.sort_by(|one, other| one.compare(other).unwrap_or(Ordering::Equal));
    Ok(Value::list(list))
}

fn distinct(arguments: &[Value]) -> Outcome {
    let mut kept: Vec<Value> = Vec::new();
    for item in items(arguments, 0)? {
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(kept))
}

fn flatten(arguments: &[Value]) -> Outcome {
    fn into(made: &mut Vec<Value>, list: &[Value], depth: i64) {
        for item in list {
            match item {
                Value::List(inner) if depth > 0 => into(made, &inner.items, depth - 1),
                other => made.push(other.clone()),
            }
        }
    }
    let depth = if arguments.len() > 1 { whole(arguments, 1)? } else { 1 };
    if depth < 0 {
        return Err(EvalError::failed("level must be non-negative"));
    }
    let mut made = Vec::new();
    into(&mut made, items(arguments, 0)?, depth);
    Ok(Value::list(made))
}

fn list_range(arguments: &[Value]) -> Outcome {
    let count = whole(arguments, 0)?;
    if count > RANGE_MAX {
        return Err(EvalError::failed(format!("lists.range({count}) is larger than {RANGE_MAX}")));
    }
    Ok(Value::list((0..count).map(Value::Int).collect()))
}

fn within(arguments: &[Value], parts: usize, whole: usize) -> Outcome {
    let (parts, whole) = (items(arguments, parts)?, items(arguments, whole)?);
    Ok(Value::Bool(parts.iter().all(|item| whole.contains(item))))
}

fn equivalent(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(within(arguments, 0, 1)?.is_true() && within(arguments, 1, 0)?.is_true()))
}

fn intersects(arguments: &[Value]) -> Outcome {
    let (one, other) = (items(arguments, 0)?, items(arguments, 1)?);
    Ok(Value::Bool(one.iter().any(|item| other.contains(item))))
}
