//! Server-side apply and the bookkeeping of `metadata.managedFields` for every write.
//!
//! The rules are those of KEP-555 and upstream's structured-merge-diff: each manager owns a set of fields; an apply
//! replaces its manager's set, takes away what only that manager held, and conflicts with others' changed fields.

mod compare;
mod managers;
mod node;
mod set;
mod transform;

use serde_json::{Value, json};

use crate::{Kind, Reason, Status, schema, status::Cause};
use compare::{Comparison, compare};
use managers::{Entry, Managers};
use node::Node;
use set::Set;

/// kubectl's client-side apply keeps the last configuration here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager of fields that were there before the first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who writes, and how.
#[derive(Debug, Clone)]
pub struct Writer<'a> {
    pub manager: &'a str,
    pub subresource: &'a str,
    /// RFC 3339, seconds.
    pub now: &'a str,
    pub force: bool,
}

/// Applies a configuration. `live` is `None` when the object does not exist. 409 with `FieldManagerConflict`
/// causes on conflict.
pub fn apply(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    writer: &Writer<'_>,
) -> Result<Value, Status> {
    apply_custom(kind, None, live, config, writer)
}

/// [`apply`] for a custom resource with the `openAPIV3Schema` of its version.
pub fn apply_custom(
    kind: &Kind,
    open_api: Option<&Value>,
    live: Option<&Value>,
    config: &Value,
    writer: &Writer<'_>,
) -> Result<Value, Status> {
    check_config(kind, config)?;
    let scene = Scene::new(kind, open_api, writer);
    scene.root.check(config, "").map_err(|problem| untyped(kind, config, &problem))?;
    let mut managers = live.map(Managers::read).unwrap_or_default();
    let current = match live {
        Some(live) => without_managed_fields(live),
        None => scene.empty_object(),
    };
    if live.is_some() && managers.is_empty() {
        let mut first = scene.entry("Update");
        first.manager = BEFORE_FIRST_APPLY.to_owned();
        scene.update(&mut managers, &scene.empty_object(), &current, first);
    }
    let outcome = scene.apply(&managers, &current, config, writer.force);
    let (mut object, mut managers) = match outcome {
        Err(conflicts) if writer.manager == "kubectl" => {
            let allowed = scene.last_applied_fields(&current);
            let left: Vec<Conflict> =
                conflicts.into_iter().filter(|one| !allowed.has(&one.path)).collect();
            if left.is_empty() {
                scene.apply(&managers, &current, config, true).map_err(conflict_status)?
            } else {
                return Err(conflict_status(left));
            }
        }
        other => other.map_err(conflict_status)?,
    };
    if object != current || live.is_none() {
        managers.touch(&scene.entry("Apply"), writer.now);
    }
    managers.write(&mut object);
    Ok(object)
}

/// Updates `managedFields` of `new` after a create, update or patch by `writer`.
pub fn track(kind: &Kind, old: Option<&Value>, new: &mut Value, writer: &Writer<'_>) {
    track_custom(kind, None, old, new, writer);
}

/// [`track`] for a custom resource with the `openAPIV3Schema` of its version.
pub fn track_custom(
    kind: &Kind,
    open_api: Option<&Value>,
    old: Option<&Value>,
    new: &mut Value,
    writer: &Writer<'_>,
) {
    let scene = Scene::new(kind, open_api, writer);
    let mut managers = live_or_new(old, new, writer);
    remove_managed_fields(new);
    // Objects from before the bookkeeping stay without it until their first apply.
    if old.is_none() || !managers.is_empty() {
        let before = old.map_or_else(|| scene.empty_object(), without_managed_fields);
        scene.update(&mut managers, &before, new, scene.entry("Update"));
        managers.cap(writer.now);
    }
    managers.write(new);
}

/// The managers that a write starts from: the new object's own if it has them (clients may edit them), else the old
/// one's. Subresources cannot edit them.
fn live_or_new(old: Option<&Value>, new: &Value, writer: &Writer<'_>) -> Managers {
    let live = || old.map(Managers::read).unwrap_or_default();
    if !writer.subresource.is_empty() {
        return live();
    }
    match new["metadata"]["managedFields"].as_array().map(Vec::as_slice) {
        Some([]) => Managers::default(),
        Some([one]) if *one == json!({}) => Managers::default(),
        Some(_) => {
            let managers = Managers::read(new);
            if managers.is_empty() { live() } else { managers }
        }
        None => live(),
    }
}

fn check_config(kind: &Kind, config: &Value) -> Result<(), Status> {
    let bad = |text: String| Err(Status::new(Reason::BadRequest, text));
    let given = config["apiVersion"].as_str().unwrap_or_default();
    if given != kind.api_version() {
        return bad(format!(
            "Incorrect version specified in apply patch. Specified patch version: {given}, expected: {}",
            kind.api_version()
        ));
    }
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return bad("metadata.managedFields must be nil".to_owned());
    }
    Ok(())
}

/// In upstream's words; there it is a server error.
fn untyped(kind: &Kind, config: &Value, problem: &str) -> Status {
    let text = |field: &str| config["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let message = format!(
        "failed to create typed patch object ({namespace}/{name}; {}, Kind={}): {problem}",
        kind.api_version(),
        kind.kind
    );
    Status::new(Reason::BadRequest, message)
}

fn without_managed_fields(object: &Value) -> Value {
    let mut copy = object.clone();
    remove_managed_fields(&mut copy);
    copy
}

fn remove_managed_fields(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

/// A field that another manager owns and an apply would change.
struct Conflict {
    owner: Entry,
    path: Vec<String>,
}

fn conflict_status(conflicts: Vec<Conflict>) -> Status {
    let lines: Vec<(String, String)> =
        conflicts.iter().map(|one| (one.owner.describe(), set::display(&one.path))).collect();
    let message = match lines.as_slice() {
        [(owner, path)] => format!("Apply failed with 1 conflict: conflict with {owner}: {path}"),
        many => {
            let mut owners: Vec<&String> = many.iter().map(|(owner, _)| owner).collect();
            owners.sort();
            owners.dedup();
            let mut text = Vec::new();
            for owner in owners {
                text.push(format!("conflicts with {owner}:"));
                text.extend(
                    many.iter().filter(|one| one.0 == *owner).map(|one| format!("- {}", one.1)),
                );
            }
            format!("Apply failed with {} conflicts: {}", many.len(), text.join("\n"))
        }
    };
    let mut status = Status::new(Reason::Conflict, message);
    status.causes = lines
        .into_iter()
        .map(|(owner, field)| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {owner}"),
            field,
        })
        .collect();
    status
}

/// What one write is about: the type's root, the writer, and the fields that the write cannot own.
struct Scene<'a> {
    kind: &'a Kind,
    root: Node<'a>,
    writer: &'a Writer<'a>,
    ignored: Set,
}

impl<'a> Scene<'a> {
    fn new(kind: &'a Kind, open_api: Option<&'a Value>, writer: &'a Writer<'a>) -> Self {
        let root = match schema::message(&kind.schema) {
            Some(message) => Node::Message(message),
            None => Node::Custom(open_api),
        };
        let ignored = match (writer.subresource, kind.subresource("status").is_some()) {
            ("", true) if kind.kind != "Node" => "f:status",
            ("status", _) => "f:spec",
            _ => "",
        };
        let mut set = Set::default();
        if !ignored.is_empty() {
            set.insert(&[ignored.to_owned()]);
        }
        Self { kind, root, writer, ignored: set }
    }

    fn entry(&self, operation: &str) -> Entry {
        Entry {
            manager: if self.writer.manager.is_empty() { "unknown" } else { self.writer.manager }
                .to_owned(),
            operation: operation.to_owned(),
            api_version: self.kind.api_version(),
            subresource: self.writer.subresource.to_owned(),
            time: String::new(),
        }
    }

    /// What upstream's encoder writes for an object without content.
    fn empty_object(&self) -> Value {
        let mut object =
            json!({"apiVersion": self.kind.api_version(), "kind": self.kind.kind, "metadata": {}});
        schema::fill_required(&self.kind.schema, &mut object);
        object
    }

    fn compare(&self, old: &Value, new: &Value) -> Comparison {
        let mut found = compare(self.root, old, new);
        for set in [&mut found.added, &mut found.modified, &mut found.removed] {
            *set = set.without_trees(&self.ignored);
        }
        found
    }

    /// Gives the fields that a write changed to its writer, and takes them from others.
    fn update(&self, managers: &mut Managers, old: &Value, new: &Value, entry: Entry) {
        let found = self.compare(old, new);
        let changed = found.added.union(&found.modified);
        managers.subtract_all(&changed.union(&found.removed));
        let own = changed.difference(&never_owned());
        if own.is_empty() {
            return;
        }
        let merged =
            managers.set_of(&entry).map_or_else(|| own.clone(), |before| own.union(before));
        managers.replace(&entry, merged);
        managers.touch(&entry, self.writer.now);
    }

    fn apply(
        &self,
        managers: &Managers,
        live: &Value,
        config: &Value,
        force: bool,
    ) -> Result<(Value, Managers), Vec<Conflict>> {
        let mut managers = managers.clone();
        let entry = self.entry("Apply");
        let last = managers.set_of(&entry).cloned().unwrap_or_default();
        let applied = transform::field_set(self.root, config).without_trees(&self.ignored);
        managers.replace(&entry, applied);
        let merged = transform::merge(self.root, live, config);
        let object = self.prune(merged, &managers, &last);
        let found = self.compare(live, &object);
        let changed = found.added.union(&found.modified);
        let conflicts = managers.conflicts(&entry, &changed);
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        managers.subtract_from_others(&entry, &changed.union(&found.removed));
        let own =
            managers.set_of(&entry).map(|set| set.difference(&never_owned())).unwrap_or_default();
        managers.replace(&entry, own);
        Ok((object, managers))
    }

    /// Removes what the manager applied last time, does not apply now, and no one else owns.
    fn prune(&self, merged: Value, managers: &Managers, last: &Set) -> Value {
        if last.is_empty() {
            return merged;
        }
        let named = |set: &Set| set.with_named_fields(self.root);
        let fields = |object: &Value| named(&transform::field_set(self.root, object));
        let pruned = transform::remove(self.root, &merged, &named(last));
        let owned = named(&managers.all_fields());
        let all = fields(&merged);
        let doomed = all.difference(&fields(&pruned).union(&owned));
        let pruned = transform::remove(self.root, &merged, &doomed);
        let doomed = all.difference(&fields(&pruned)).intersection(&named(last));
        transform::remove(self.root, &merged, &doomed)
    }

    /// Fields that kubectl's client-side apply set last and that still have its values: a first server-side apply by
    /// kubectl may take them over.
    fn last_applied_fields(&self, live: &Value) -> Set {
        let text = live["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap_or_default();
        let Ok(config) = serde_json::from_str::<Value>(text) else { return Set::default() };
        if config["apiVersion"].as_str() != Some(self.kind.api_version().as_str()) {
            return Set::default();
        }
        let found = compare(self.root, &config, live);
        let differing = found.added.union(&found.modified).union(&found.removed);
        transform::field_set(self.root, &config).difference(&differing)
    }
}

/// Identity and server-set metadata belong to no manager.
fn never_owned() -> Set {
    let mut set = Set::default();
    for field in ["apiVersion", "kind", "metadata"] {
        set.insert(&[format!("f:{field}")]);
    }
    for field in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set.insert(&["f:metadata".to_owned(), format!("f:{field}")]);
    }
    set
}

#[cfg(test)]
mod tests;
