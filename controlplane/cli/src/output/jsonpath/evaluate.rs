//! What a parsed template finds in a value.

use std::cmp::Ordering;

use anyhow::{Result, bail};
use serde_json::Value;

use super::{
    parse::{Filter, Node, Operand, Operator, Step},
    value_text,
};

/// Renders nodes for `current`; `root` is what `$` means.
pub(super) fn render(
    nodes: &[Node],
    root: &Value,
    current: &Value,
    out: &mut String,
) -> Result<()> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Expression(path) => {
                check_bounds(path, root, current)?;
                let found: Vec<_> = find(path, root, current).into_iter().map(value_text).collect();
                out.push_str(&found.join(" "));
            }
            Node::Range { over, body } => {
                for item in find(over, root, current) {
                    render(body, root, item, out)?;
                }
            }
        }
    }
    Ok(())
}

/// An index behind the end is an error to kubectl, while a missing field is not.
fn check_bounds(path: &[Step], root: &Value, current: &Value) -> Result<()> {
    for (position, step) in path.iter().enumerate() {
        let Step::Index(index) = step else { continue };
        for value in find(&path[..position], root, current) {
            let length = value.as_array().map_or(0, Vec::len);
            if value.is_array() && pick(length, *index).is_none() {
                bail!("array index out of bounds: index {index}, length {length}");
            }
        }
    }
    Ok(())
}

/// Every value that the path leads to.
pub(super) fn find<'a>(path: &[Step], root: &'a Value, current: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![current];
    for step in path {
        found = found.into_iter().flat_map(|value| take(step, root, value)).collect();
    }
    found
}

fn take<'a>(step: &Step, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Root => vec![root],
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Descend(name) => {
            let mut found = Vec::new();
            descend(name.as_deref(), value, &mut found);
            found
        }
        Step::All => children(value),
        Step::Index(index) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            pick(items.len(), *index).map(|position| &items[position]).into_iter().collect()
        }
        Step::Slice { start, end, step } => slice(value, *start, *end, *step),
        Step::Union(steps) => steps.iter().flat_map(|step| take(step, root, value)).collect(),
        Step::Filter(filter) => {
            children(value).into_iter().filter(|item| matches(filter, root, item)).collect()
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn descend<'a>(name: Option<&str>, value: &'a Value, found: &mut Vec<&'a Value>) {
    match name {
        Some(name) => found.extend(value.get(name)),
        None => found.push(value),
    }
    for child in children(value) {
        descend(name, child, found);
    }
}

/// A position from an index that may count from the end.
fn pick(length: usize, index: i64) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let position = if index < 0 { index + length } else { index };
    (0..length).contains(&position).then(|| usize::try_from(position).ok())?
}

fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: i64) -> Vec<&Value> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let bound = |index: i64| (if index < 0 { index + length } else { index }).clamp(0, length);
    let (start, end) = (bound(start.unwrap_or(0)), bound(end.unwrap_or(length)));
    let taken = usize::try_from((end - start).max(0)).unwrap_or(0);
    let skipped = usize::try_from(start).unwrap_or(0);
    let step = usize::try_from(step).unwrap_or(1);
    items.iter().skip(skipped).take(taken).step_by(step).collect()
}

fn matches(filter: &Filter, root: &Value, item: &Value) -> bool {
    let values = |operand: &Operand| -> Vec<Value> {
        match operand {
            Operand::Literal(value) => vec![value.clone()],
            Operand::Path(path) => find(path, root, item).into_iter().cloned().collect(),
        }
    };
    let left = values(&filter.left);
    let Some((operator, right)) = &filter.test else { return !left.is_empty() };
    let (Some(left), Some(right)) = (left.first(), values(right).into_iter().next()) else {
        return false;
    };
    let order = compare(left, &right);
    match operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::NotEqual => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// The order of two scalars of one type.
pub(crate) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}
