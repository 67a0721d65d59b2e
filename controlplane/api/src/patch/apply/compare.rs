//! Which fields differ between two objects.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::node::{Layout, Node};
use super::set::Set;

/// The paths that an object has more, less or otherwise than another.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

pub(super) fn compare(root: Node<'_>, old: &Value, new: &Value) -> Comparison {
    let mut walk = Walk { found: Comparison::default(), path: Vec::new() };
    walk.visit(root, Some(old), Some(new));
    walk.found
}

struct Walk {
    found: Comparison,
    path: Vec<String>,
}

const NULL: &Value = &Value::Null;

impl Walk {
    fn visit(&mut self, node: Node<'_>, old: Option<&Value>, new: Option<&Value>) {
        let layout = node.layout(old, new);
        let empty = is_empty(old) && is_empty(new);
        match layout {
            Layout::Fields if !empty => self.visit_fields(node, old, new),
            Layout::Keyed(_) | Layout::Set if !empty => self.visit_items(node, &layout, old, new),
            _ => {
                if let (Some(old), Some(new)) = (old, new)
                    && old != new
                {
                    self.found.modified.insert(&self.path);
                }
            }
        }
        match (old, new) {
            (None, Some(_)) => self.found.added.insert(&self.path),
            (Some(_), None) => self.found.removed.insert(&self.path),
            _ => {}
        }
    }

    fn descend(
        &mut self,
        element: String,
        node: Node<'_>,
        old: Option<&Value>,
        new: Option<&Value>,
    ) {
        self.path.push(element);
        self.visit(node, old, new);
        self.path.pop();
    }

    fn visit_fields(&mut self, node: Node<'_>, old: Option<&Value>, new: Option<&Value>) {
        let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
        // A field that is always written is there as null in an object that exists.
        let only_after = after
            .into_iter()
            .flat_map(Map::keys)
            .filter(|name| before.is_none_or(|map| !map.contains_key(*name)));
        for name in before.into_iter().flat_map(Map::keys).chain(only_after) {
            let null = node.is_always_written(name).then_some(NULL);
            let one = before.and_then(|map| map.get(name).or(null));
            let other = after.and_then(|map| map.get(name).or(null));
            self.descend(format!("f:{name}"), node.child(name), one, other);
        }
    }

    fn visit_items(
        &mut self,
        node: Node<'_>,
        layout: &Layout,
        old: Option<&Value>,
        new: Option<&Value>,
    ) {
        let (before, after) = (index(node, layout, old), index(node, layout, new));
        let elements = before.keys().chain(after.keys().filter(|one| !before.contains_key(*one)));
        for element in elements {
            let one = before.get(element).map_or(&[][..], Vec::as_slice);
            let other = after.get(element).map_or(&[][..], Vec::as_slice);
            if one.len() <= 1 && other.len() <= 1 {
                let (one, other) = (one.first().copied(), other.first().copied());
                self.descend(element.clone(), node.item(), one, other);
            } else if one != other {
                // Duplicates count as one value.
                self.path.push(element.clone());
                self.found.modified.insert(&self.path);
                self.path.pop();
            }
        }
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn index<'v>(
    node: Node<'_>,
    layout: &Layout,
    list: Option<&'v Value>,
) -> BTreeMap<String, Vec<&'v Value>> {
    let mut found: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for (at, item) in list.and_then(Value::as_array).into_iter().flatten().enumerate() {
        found.entry(node.element(layout, at, item)).or_default().push(item);
    }
    found
}
