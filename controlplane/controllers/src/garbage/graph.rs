//! Who owns whom, and what follows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ApiResource;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// An object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub uid: String,
    pub group: String,
    pub kind: String,
    /// Empty for cluster-scoped ones.
    pub namespace: String,
    pub name: String,
}

/// What must happen to an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Keep,
    /// These owners were never seen: ask the server.
    Check(Vec<Identity>),
    Delete {
        foreground: bool,
    },
    RemoveFinalizer {
        finalizer: &'static str,
        remaining: Vec<String>,
    },
    /// Some owners let it go, or are no longer held up by it.
    SetOwners {
        owners: Vec<OwnerReference>,
    },
}

/// What has become of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// There, and not waiting for its dependents.
    Solid,
    /// In foreground deletion.
    Waiting,
    Absent,
    /// Never seen.
    Unknown,
}

#[derive(Debug)]
struct Node {
    identity: Identity,
    owners: Vec<OwnerReference>,
    finalizers: Vec<String>,
    deleting: bool,
}

/// All objects, by UID.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
    dependents: BTreeMap<String, BTreeSet<String>>,
    /// Owners known not to exist.
    absent: BTreeSet<String>,
}

impl Graph {
    /// An object appeared or changed. Returns what to judge.
    pub(super) fn put(&mut self, resource: &ApiResource, meta: &ObjectMeta) -> Vec<Identity> {
        let identity = identity(resource, meta);
        let owners = meta.owner_references.clone().unwrap_or_default();
        let before = self.nodes.get(&identity.uid).map(|node| node.owners.clone());
        self.unlink(&identity.uid);
        for owner in &owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(identity.uid.clone());
        }
        let node = Node {
            identity: identity.clone(),
            owners,
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        };
        let deleting = node.deleting;
        self.absent.remove(&identity.uid);
        self.nodes.insert(identity.uid.clone(), node);
        let mut affected = vec![identity.clone()];
        if deleting {
            affected.extend(self.dependents_of(&identity.uid));
        }
        // An owner that is being deleted may have waited for just this: the dependent let go, or blocks no longer.
        let before = before.into_iter().flatten();
        let waiting = before.filter_map(|owner| self.nodes.get(&owner.uid));
        affected.extend(waiting.filter(|node| node.deleting).map(|node| node.identity.clone()));
        affected
    }

    /// An object is gone. Returns what to judge: its dependents, and owners that waited for it.
    pub(super) fn remove(&mut self, resource: &ApiResource, meta: &ObjectMeta) -> Vec<Identity> {
        let identity = identity(resource, meta);
        let owners =
            self.nodes.get(&identity.uid).map(|node| node.owners.clone()).unwrap_or_default();
        self.unlink(&identity.uid);
        self.nodes.remove(&identity.uid);
        self.absent.insert(identity.uid.clone());
        let mut affected = self.dependents_of(&identity.uid);
        let waiting = owners.iter().filter_map(|owner| self.nodes.get(&owner.uid));
        affected.extend(waiting.map(|node| node.identity.clone()));
        if affected.is_empty() {
            // Nobody asks about it any more.
            self.absent.remove(&identity.uid);
        }
        affected
    }

    /// The server has no object with this UID.
    pub(super) fn mark_absent(&mut self, uid: &str) {
        self.absent.insert(uid.to_owned());
    }

    fn unlink(&mut self, uid: &str) {
        let owners = self.nodes.get(uid).map(|node| node.owners.clone()).unwrap_or_default();
        for owner in owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    fn dependents_of(&self, uid: &str) -> Vec<Identity> {
        let dependents = self.dependents.get(uid).into_iter().flatten();
        dependents.filter_map(|uid| self.nodes.get(uid)).map(|node| node.identity.clone()).collect()
    }

    /// What must happen to an object.
    pub(super) fn judge(&self, identity: &Identity) -> Verdict {
        let Some(node) = self.nodes.get(&identity.uid) else { return Verdict::Keep };
        if node.deleting {
            return self.judge_deleting(node);
        }
        if node.owners.is_empty() {
            return Verdict::Keep;
        }
        if let Some(owners) = self.released(node) {
            return Verdict::SetOwners { owners };
        }
        let mut standing: BTreeMap<Standing, Vec<&OwnerReference>> = BTreeMap::new();
        for owner in &node.owners {
            standing.entry(self.standing(owner)).or_default().push(owner);
        }
        let of = |kind: Standing| standing.get(&kind).into_iter().flatten().copied();
        if of(Standing::Solid).next().is_some() {
            if of(Standing::Absent).chain(of(Standing::Waiting)).next().is_none() {
                return Verdict::Keep;
            }
            // What keeps it is not what goes: those wait for it no longer.
            let owners = of(Standing::Solid).chain(of(Standing::Unknown)).cloned().collect();
            return Verdict::SetOwners { owners };
        }
        let unknown: Vec<Identity> = of(Standing::Unknown)
            .map(|owner| owner_identity(owner, &node.identity.namespace))
            .collect();
        if !unknown.is_empty() {
            return Verdict::Check(unknown);
        }
        // Under an owner in foreground deletion, a dependent with dependents of its own goes the same way.
        let mut dependents = self.dependents_of_node(node).peekable();
        let foreground = of(Standing::Waiting).next().is_some() && dependents.peek().is_some();
        if foreground && dependents.any(|it| it.deleting && has(it, FOREGROUND)) {
            // Perhaps a circle: each would wait for the next for ever, so this one holds up nobody.
            let blocks = |owner: &OwnerReference| owner.block_owner_deletion == Some(true);
            if node.owners.iter().any(blocks) {
                let free = |owner: &OwnerReference| OwnerReference {
                    block_owner_deletion: Some(false),
                    ..owner.clone()
                };
                return Verdict::SetOwners { owners: node.owners.iter().map(free).collect() };
            }
        }
        Verdict::Delete { foreground }
    }

    fn standing(&self, owner: &OwnerReference) -> Standing {
        match self.nodes.get(&owner.uid) {
            Some(node) if node.deleting && has(node, FOREGROUND) => Standing::Waiting,
            Some(_) => Standing::Solid,
            None if self.absent.contains(&owner.uid) => Standing::Absent,
            None => Standing::Unknown,
        }
    }

    fn dependents_of_node(&self, node: &Node) -> impl Iterator<Item = &Node> {
        let uids = self.dependents.get(&node.identity.uid).into_iter().flatten();
        uids.filter_map(|uid| self.nodes.get(uid))
    }

    fn judge_deleting(&self, node: &Node) -> Verdict {
        let without = |finalizer: &str| {
            node.finalizers.iter().filter(|own| *own != finalizer).cloned().collect::<Vec<_>>()
        };
        if has(node, ORPHAN) && self.dependents_of_node(node).next().is_none() {
            return Verdict::RemoveFinalizer { finalizer: ORPHAN, remaining: without(ORPHAN) };
        }
        let blocked = || {
            self.dependents_of_node(node).any(|dependent| {
                let own = dependent.owners.iter().find(|owner| owner.uid == node.identity.uid);
                own.is_some_and(|owner| owner.block_owner_deletion == Some(true))
            })
        };
        if has(node, FOREGROUND) && !blocked() {
            return Verdict::RemoveFinalizer {
                finalizer: FOREGROUND,
                remaining: without(FOREGROUND),
            };
        }
        Verdict::Keep
    }

    /// The owners that stay when an owner orphans the object; `None` where none does.
    fn released(&self, node: &Node) -> Option<Vec<OwnerReference>> {
        let orphans = |owner: &OwnerReference| {
            self.nodes.get(&owner.uid).is_some_and(|owner| owner.deleting && has(owner, ORPHAN))
        };
        node.owners
            .iter()
            .any(orphans)
            .then(|| node.owners.iter().filter(|owner| !orphans(owner)).cloned().collect())
    }
}

fn has(node: &Node, finalizer: &str) -> bool {
    node.finalizers.iter().any(|own| own == finalizer)
}

fn identity(resource: &ApiResource, meta: &ObjectMeta) -> Identity {
    Identity {
        uid: meta.uid.clone().unwrap_or_default(),
        group: resource.group.clone(),
        kind: resource.kind.clone(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

fn owner_identity(owner: &OwnerReference, namespace: &str) -> Identity {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    Identity {
        uid: owner.uid.clone(),
        group: group.into(),
        kind: owner.kind.clone(),
        namespace: namespace.into(),
        name: owner.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> ApiResource {
        ApiResource {
            group: String::new(),
            version: "v1".into(),
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            plural: "configmaps".into(),
        }
    }

    fn meta(uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> ObjectMeta {
        let owners = owners.iter().map(|uid| OwnerReference {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: (*uid).into(),
            uid: (*uid).into(),
            block_owner_deletion: Some(true),
            controller: None,
        });
        ObjectMeta {
            name: Some(uid.into()),
            uid: Some(uid.into()),
            owner_references: Some(owners.collect()),
            finalizers: Some(finalizers.iter().map(|text| (*text).to_owned()).collect()),
            deletion_timestamp: deleting.then(|| {
                k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH)
            }),
            ..ObjectMeta::default()
        }
    }

    fn verdict(graph: &Graph, uid: &str) -> Verdict {
        graph.judge(&identity(&resource(), &meta(uid, &[], &[], false)))
    }

    #[test]
    fn a_dependent_goes_when_its_last_owner_is_gone() {
        let mut graph = Graph::default();
        graph.put(&resource(), &meta("owner", &[], &[], false));
        graph.put(&resource(), &meta("child", &["owner"], &[], false));
        assert_eq!(verdict(&graph, "child"), Verdict::Keep);
        let affected = graph.remove(&resource(), &meta("owner", &[], &[], false));
        assert_eq!(affected.len(), 1);
        assert_eq!(verdict(&graph, "child"), Verdict::Delete { foreground: false });
    }

    #[test]
    fn an_owner_that_was_never_seen_is_asked_for() {
        let mut graph = Graph::default();
        graph.put(&resource(), &meta("child", &["owner"], &[], false));
        assert!(
            matches!(verdict(&graph, "child"), Verdict::Check(owners) if owners[0].name == "owner")
        );
        graph.mark_absent("owner");
        assert_eq!(verdict(&graph, "child"), Verdict::Delete { foreground: false });
    }

    #[test]
    fn foreground_deletion_waits_for_dependents() {
        let mut graph = Graph::default();
        graph.put(&resource(), &meta("child", &["owner"], &[], false));
        graph.put(&resource(), &meta("owner", &[], &[FOREGROUND], true));
        assert_eq!(verdict(&graph, "owner"), Verdict::Keep);
        assert_eq!(verdict(&graph, "child"), Verdict::Delete { foreground: false });
        graph.remove(&resource(), &meta("child", &["owner"], &[], false));
        assert!(
            matches!(verdict(&graph, "owner"), Verdict::RemoveFinalizer { remaining, .. } if remaining.is_empty())
        );
    }

    #[test]
    fn orphaning_releases_dependents_first() {
        let mut graph = Graph::default();
        graph.put(&resource(), &meta("child", &["owner", "other"], &[], false));
        graph.put(&resource(), &meta("owner", &[], &[ORPHAN], true));
        assert_eq!(verdict(&graph, "owner"), Verdict::Keep);
        assert!(
            matches!(verdict(&graph, "child"), Verdict::SetOwners { owners } if owners.len() == 1)
        );
        let affected = graph.put(&resource(), &meta("child", &["other"], &[], false));
        assert!(affected.iter().any(|one| one.name == "owner"), "the owner is judged again");
        assert!(matches!(verdict(&graph, "owner"), Verdict::RemoveFinalizer { .. }));
    }

    #[test]
    fn an_owner_that_stays_keeps_its_dependent_and_lets_the_other_go() {
        let mut graph = Graph::default();
        graph.put(&resource(), &meta("stays", &[], &[], false));
        graph.put(&resource(), &meta("child", &["stays", "goes"], &[], false));
        graph.put(&resource(), &meta("goes", &[], &[FOREGROUND], true));
        assert_eq!(verdict(&graph, "goes"), Verdict::Keep);
        assert!(
            matches!(verdict(&graph, "child"), Verdict::SetOwners { owners } if owners.len() == 1 && owners[0].uid == "stays")
        );
        graph.put(&resource(), &meta("child", &["stays"], &[], false));
        assert!(matches!(verdict(&graph, "goes"), Verdict::RemoveFinalizer { .. }));
        assert_eq!(verdict(&graph, "child"), Verdict::Keep);
    }

    #[test]
    fn a_circle_is_opened_where_it_closes() {
        let mut graph = Graph::default();
        for (uid, owner, deleting) in [("a", "c", true), ("b", "a", true), ("c", "b", false)] {
            let finalizers: &[&str] = if deleting { &[FOREGROUND] } else { &[] };
            graph.put(&resource(), &meta(uid, &[owner], finalizers, deleting));
        }
        let Verdict::SetOwners { owners } = verdict(&graph, "c") else {
            panic!("{:?}", verdict(&graph, "c"));
        };
        assert_eq!(owners[0].block_owner_deletion, Some(false));
        let mut freed = meta("c", &["b"], &[], false);
        freed.owner_references = Some(owners);
        graph.put(&resource(), &freed);
        assert_eq!(verdict(&graph, "c"), Verdict::Delete { foreground: true });
        assert!(matches!(verdict(&graph, "b"), Verdict::RemoveFinalizer { .. }));
    }
}
