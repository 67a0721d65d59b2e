//! Sets of field paths and their `FieldsV1` form.
//!
//! A path is a list of elements in their serialized form: `f:name` a field, `k:{"name":"a"}` an item of a keyed list,
//! `v:"x"` an item of a set, `i:0` an index.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::node::Node;

/// A set of paths. An element can be a member itself, have members below it, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    members: BTreeSet<String>,
    children: BTreeMap<String, Set>,
}

/// Nesting of `FieldsV1` that is read; deeper is dropped.
const DEPTH_MAX: usize = 100;

impl Set {
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    pub fn insert(&mut self, path: &[String]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    pub fn has(&self, path: &[String]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.children.get(first).is_some_and(|child| child.has(rest)),
        }
    }

    /// The element itself is a member.
    pub fn has_member(&self, element: &str) -> bool {
        self.members.contains(element)
    }

    /// The members below an element.
    pub fn child(&self, element: &str) -> Option<&Self> {
        self.children.get(element).filter(|child| !child.is_empty())
    }

    pub fn union(&self, other: &Self) -> Self {
        let mut result = self.clone();
        result.members.extend(other.members.iter().cloned());
        for (element, child) in &other.children {
            let entry = result.children.entry(element.clone()).or_default();
            *entry = entry.union(child);
        }
        result
    }

    pub fn difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        self.with_children(members, |element, child| match other.children.get(element) {
            Some(theirs) => child.difference(theirs),
            None => child.clone(),
        })
    }

    pub fn intersection(&self, other: &Self) -> Self {
        let members = self.members.intersection(&other.members).cloned().collect();
        self.with_children(members, |element, child| match other.children.get(element) {
            Some(theirs) => child.intersection(theirs),
            None => Self::default(),
        })
    }

    /// Without the members of `other` and everything below them.
    pub fn without_trees(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        self.with_children(members, |element, child| {
            if other.members.contains(element) {
                return Self::default();
            }
            match other.children.get(element) {
                Some(theirs) => child.without_trees(theirs),
                None => child.clone(),
            }
        })
    }

    fn with_children(&self, members: BTreeSet<String>, make: impl Fn(&str, &Self) -> Self) -> Self {
        let children = self
            .children
            .iter()
            .map(|(element, child)| (element.clone(), make(element, child)))
            .filter(|(_, child)| !child.is_empty())
            .collect();
        Self { members, children }
    }

    /// Also the structs' fields on the way to members, which sets usually leave out.
    pub fn with_named_fields(&self, node: Node<'_>) -> Self {
        let mut result = Self { members: self.members.clone(), children: BTreeMap::new() };
        for (element, child) in &self.children {
            let below = match element.strip_prefix("f:") {
                Some(name) => {
                    if node.is_named(name) {
                        result.members.insert(element.clone());
                    }
                    node.child(name)
                }
                None => node.item(),
            };
            result.children.insert(element.clone(), child.with_named_fields(below));
        }
        result
    }

    /// Every path in the set.
    pub fn paths(&self) -> Vec<Vec<String>> {
        let mut all: Vec<Vec<String>> = self.members.iter().map(|one| vec![one.clone()]).collect();
        for (element, child) in &self.children {
            for mut path in child.paths() {
                path.insert(0, element.clone());
                all.push(path);
            }
        }
        all
    }

    /// `FieldsV1`: `.` stands for the element itself.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        for element in &self.members {
            map.insert(element.clone(), json!({}));
        }
        for (element, child) in self.children.iter().filter(|(_, child)| !child.is_empty()) {
            let mut below = child.to_json();
            if self.members.contains(element) {
                below["."] = json!({});
            }
            map.insert(element.clone(), below);
        }
        Value::Object(map)
    }

    pub fn from_json(value: &Value) -> Self {
        Self::read(value, DEPTH_MAX)
    }

    fn read(value: &Value, depth: usize) -> Self {
        let mut set = Self::default();
        let Some(depth) = depth.checked_sub(1) else { return set };
        for (element, below) in
            value.as_object().into_iter().flatten().filter(|(key, _)| *key != ".")
        {
            let element = canonical(element);
            let map = below.as_object();
            if map.is_none_or(|map| map.is_empty() || map.contains_key(".")) {
                set.members.insert(element.clone());
            }
            let child = Self::read(below, depth);
            if !child.is_empty() {
                set.children.insert(element, child);
            }
        }
        set
    }
}

/// Keys and values in one JSON spelling, so that elements compare as text.
fn canonical(element: &str) -> String {
    for prefix in ["k:", "v:"] {
        if let Some(text) = element.strip_prefix(prefix)
            && let Ok(value) = serde_json::from_str::<Value>(text)
        {
            return format!("{prefix}{value}");
        }
    }
    element.to_owned()
}

/// A path as messages show it: `.spec.containers[name="a"].image`.
pub(super) fn display(path: &[String]) -> String {
    let mut text = String::new();
    for element in path {
        match element.split_once(':') {
            Some(("f", name)) => text.push_str(&format!(".{name}")),
            Some(("k", keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let parts: Vec<String> =
                    keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                text.push_str(&format!("[{}]", parts.join(",")));
            }
            Some(("v", value)) => text.push_str(&format!("[={value}]")),
            Some((_, index)) => text.push_str(&format!("[{index}]")),
            None => text.push_str(element),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_round_trip_and_combine() {
        let text = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}});
        let set = Set::from_json(&text);
        assert_eq!(set.to_json(), text);
        assert_eq!(set.union(&set), set);
        assert!(set.difference(&set).is_empty());
        assert_eq!(set.intersection(&set), set);
        let shown: Vec<String> = set.paths().iter().map(|path| display(path)).collect();
        assert!(shown.contains(&".spec.containers[name=\"c\"].image".to_owned()), "{shown:?}");
        let mut ignored = Set::default();
        ignored.insert(&["f:spec".to_owned()]);
        assert_eq!(
            set.without_trees(&ignored).to_json(),
            json!({"f:metadata": text["f:metadata"]})
        );
    }
}
