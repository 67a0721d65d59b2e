//! Objects by field sets: the set of an object's fields, merging a configuration, removing fields.

use serde_json::{Map, Value};

use super::node::{Layout, Node};
use super::set::Set;

/// The fields that an applied configuration owns.
pub(super) fn field_set(root: Node<'_>, object: &Value) -> Set {
    let mut set = Set::default();
    collect(root, object, &mut Vec::new(), &mut set);
    set
}

fn collect(node: Node<'_>, value: &Value, path: &mut Vec<String>, set: &mut Set) {
    match (node.layout(Some(value), None), value) {
        (Layout::Fields, Value::Object(map)) => {
            for (name, inner) in map {
                path.push(format!("f:{name}"));
                collect(node.child(name), inner, path, set);
                let empty = inner.is_null() || inner.as_object().is_some_and(Map::is_empty);
                if empty || !node.is_named(name) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (layout @ (Layout::Keyed(_) | Layout::Set), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                path.push(node.element(&layout, index, item));
                collect(node.item(), item, path, set);
                set.insert(path);
                path.pop();
            }
        }
        (Layout::Fields | Layout::Keyed(_) | Layout::Set, Value::Null) => {}
        _ => set.insert(path),
    }
}

/// A configuration over a live object: leaves are the configuration's, the rest is joined.
pub(super) fn merge(node: Node<'_>, live: &Value, config: &Value) -> Value {
    match (node.layout(Some(live), Some(config)), live, config) {
        (Layout::Fields, Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let joined = match live.get(name) {
                    Some(current) => merge(node.child(name), current, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), joined);
            }
            Value::Object(merged)
        }
        (layout @ (Layout::Keyed(_) | Layout::Set), Value::Array(live), Value::Array(config)) => {
            Value::Array(merge_items(node, &layout, live, config))
        }
        _ => config.clone(),
    }
}

/// The configuration's items in its order; items that only the live list has stay where they come in it.
fn merge_items(node: Node<'_>, layout: &Layout, live: &[Value], config: &[Value]) -> Vec<Value> {
    let elements = |items: &[Value]| -> Vec<String> {
        items.iter().enumerate().map(|(at, item)| node.element(layout, at, item)).collect()
    };
    let (ours, theirs) = (elements(live), elements(config));
    let mut merged = Vec::new();
    let mut at = 0;
    for (index, item) in config.iter().enumerate() {
        let next_shared = theirs[index..].iter().find(|one| ours.contains(one));
        while at < live.len() {
            if !theirs.contains(&ours[at]) {
                merged.push(live[at].clone());
            } else if ours[at] != theirs[index] && Some(&ours[at]) == next_shared {
                break;
            }
            at += 1;
            if ours[at - 1] == theirs[index] {
                break;
            }
        }
        let current = ours.iter().position(|one| *one == theirs[index]).map(|at| &live[at]);
        merged.push(current.map_or_else(|| item.clone(), |live| merge(node.item(), live, item)));
    }
    merged.extend(
        live[at..]
            .iter()
            .zip(&ours[at..])
            .filter(|(_, one)| !theirs.contains(one))
            .map(|(item, _)| item.clone()),
    );
    merged
}

/// The object without some fields. Values of leaves are never cut.
pub(super) fn remove(node: Node<'_>, value: &Value, doomed: &Set) -> Value {
    match (node.layout(Some(value), None), value) {
        (Layout::Fields, Value::Object(map)) => Value::Object(
            map.iter()
                .filter(|(name, _)| !doomed.has_member(&format!("f:{name}")))
                .map(|(name, inner)| {
                    let below = doomed.child(&format!("f:{name}"));
                    let kept = below.map(|below| remove(node.child(name), inner, below));
                    (name.clone(), kept.unwrap_or_else(|| inner.clone()))
                })
                .collect(),
        ),
        (layout @ (Layout::Keyed(_) | Layout::Set), Value::Array(items)) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| (node.element(&layout, index, item), item))
                .filter(|(element, _)| !doomed.has_member(element))
                .map(|(element, item)| match doomed.child(&element) {
                    Some(below) => remove(node.item(), item, below),
                    None => item.clone(),
                })
                .collect(),
        ),
        _ => value.clone(),
    }
}
