//! `metadata.managedFields`: who owns which fields.

use serde_json::{Value, json};

use super::Conflict;
use super::set::Set;

/// Entries of `Update` that are kept apart; the oldest beyond these become one.
const UPDATERS_MAX: usize = 10;
const OLD_UPDATERS: &str = "ancient-changes";

/// The identity of a manager, and when it last wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    pub api_version: String,
    pub subresource: String,
    /// RFC 3339 or "".
    pub time: String,
}

impl Entry {
    /// An applier is one manager in all versions.
    fn is_same(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == "Apply" || self.api_version == other.api_version)
    }

    /// As conflict messages name it.
    pub fn describe(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource);
        }
        // Upstream's identity of a manager has no time, so messages have none either.
        if self.operation == "Update" {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Managers {
    entries: Vec<(Entry, Set)>,
}

impl Managers {
    /// From an object; entries that cannot be read make the whole bookkeeping start anew, as upstream.
    pub fn read(object: &Value) -> Self {
        let list = object["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
        let entries: Option<Vec<(Entry, Set)>> = list.iter().map(read_entry).collect();
        Self { entries: entries.unwrap_or_default() }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn set_of(&self, entry: &Entry) -> Option<&Set> {
        self.entries.iter().find(|(one, _)| one.is_same(entry)).map(|(_, set)| set)
    }

    /// Sets a manager's fields; an empty set removes it.
    pub fn replace(&mut self, entry: &Entry, set: Set) {
        match self.entries.iter_mut().find(|(one, _)| one.is_same(entry)) {
            Some(found) => {
                found.0.api_version.clone_from(&entry.api_version);
                found.1 = set;
            }
            None => self.entries.push((entry.clone(), set)),
        }
        self.entries.retain(|(_, set)| !set.is_empty());
    }

    pub fn touch(&mut self, entry: &Entry, now: &str) {
        if let Some((found, _)) = self.entries.iter_mut().find(|(one, _)| one.is_same(entry)) {
            now.clone_into(&mut found.time);
        }
    }

    pub fn subtract_all(&mut self, fields: &Set) {
        for (_, set) in &mut self.entries {
            *set = set.difference(fields);
        }
        self.entries.retain(|(_, set)| !set.is_empty());
    }

    pub fn subtract_from_others(&mut self, entry: &Entry, fields: &Set) {
        for (one, set) in &mut self.entries {
            if !one.is_same(entry) {
                *set = set.difference(fields);
            }
        }
        self.entries.retain(|(_, set)| !set.is_empty());
    }

    /// Everyone's fields.
    pub fn all_fields(&self) -> Set {
        self.entries.iter().fold(Set::default(), |all, (_, set)| all.union(set))
    }

    /// Fields of others among `changed`.
    pub fn conflicts(&self, entry: &Entry, changed: &Set) -> Vec<Conflict> {
        let mut found = Vec::new();
        for (owner, set) in self.entries.iter().filter(|(one, _)| !one.is_same(entry)) {
            for path in set.intersection(changed).paths() {
                found.push(Conflict { owner: owner.clone(), path });
            }
        }
        found.sort_by(|a, b| (&a.owner.manager, &a.path).cmp(&(&b.owner.manager, &b.path)));
        found
    }

    /// Joins the oldest updaters when there are too many.
    pub fn cap(&mut self, now: &str) {
        let mut updaters: Vec<Entry> = self
            .entries
            .iter()
            .filter(|(one, _)| one.operation == "Update")
            .map(|(one, _)| one.clone())
            .collect();
        if updaters.len() <= UPDATERS_MAX {
            return;
        }
        updaters.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
        let surplus = updaters.len() - UPDATERS_MAX + 1;
        let oldest = &updaters[..surplus];
        let mut joined = Set::default();
        for entry in oldest {
            joined = joined.union(self.set_of(entry).unwrap_or(&Set::default()));
            self.replace(entry, Set::default());
        }
        let last = oldest.last().map_or(now, |entry| entry.time.as_str()).to_owned();
        let bucket = Entry {
            manager: OLD_UPDATERS.to_owned(),
            subresource: String::new(),
            ..oldest[0].clone()
        };
        self.replace(&bucket, joined);
        self.touch(&bucket, &last);
    }

    /// Into an object, in upstream's order: appliers first, then by time and name.
    pub fn write(mut self, object: &mut Value) {
        self.entries.retain(|(_, set)| !set.is_empty());
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            return;
        };
        if self.entries.is_empty() {
            metadata.remove("managedFields");
            return;
        }
        self.entries.sort_by(|(a, _), (b, _)| {
            let key = |one: &Entry| {
                [&one.operation, &one.time, &one.manager, &one.api_version, &one.subresource]
                    .map(Clone::clone)
            };
            key(a).cmp(&key(b))
        });
        let list = self.entries.iter().map(|(entry, set)| write_entry(entry, set)).collect();
        metadata.insert("managedFields".to_owned(), Value::Array(list));
    }
}

fn read_entry(value: &Value) -> Option<(Entry, Set)> {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let entry = Entry {
        manager: text("manager"),
        operation: text("operation"),
        api_version: text("apiVersion"),
        subresource: text("subresource"),
        time: text("time"),
    };
    let valid = matches!(entry.operation.as_str(), "Apply" | "Update")
        && !entry.api_version.is_empty()
        && value["fieldsType"] == "FieldsV1";
    valid.then(|| (entry, Set::from_json(&value["fieldsV1"])))
}

fn write_entry(entry: &Entry, set: &Set) -> Value {
    let mut value = json!({"manager": entry.manager, "operation": entry.operation,
        "apiVersion": entry.api_version, "fieldsType": "FieldsV1", "fieldsV1": set.to_json()});
    for (field, text) in [("subresource", &entry.subresource), ("time", &entry.time)] {
        if !text.is_empty() {
            value[field] = json!(text);
        }
    }
    value
}
