//! Roles and bindings, indexed by subject.
//!
//! The index is a snapshot that remembers which objects it was made of. Each request asks whether they still are the
//! stored ones: by generation where the [`Lookup`] has one, else by comparing the lists pointer by pointer (an object
//! behind an `Arc` never changes, and the snapshot holds the `Arc`s, so an equal pointer is an equal object).

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use super::{
    Attributes, Decision, RBAC, aggregate,
    rules::{Rule, parse_rules},
};
use crate::{Lookup, User, names};

const RESOURCES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// Keeps the newest [`Index`].
#[derive(Default)]
pub(super) struct Indexer {
    newest: RwLock<Arc<Index>>,
    /// Held while an index is made, so that a change makes one and not one per request.
    building: Mutex<()>,
}

/// The objects an index was made of.
#[derive(Default)]
struct Sources {
    generations: [Option<u64>; 4],
    lists: [Vec<Arc<Value>>; 4],
}

#[derive(Default)]
pub(super) struct Index {
    sources: Sources,
    roles: HashMap<RoleRef, Arc<[Rule]>>,
    /// Bindings by namespace; "" holds the ClusterRoleBindings.
    bindings: HashMap<String, BySubject>,
}

#[derive(Default)]
struct BySubject {
    users: HashMap<String, Vec<Arc<Binding>>>,
    groups: HashMap<String, Vec<Arc<Binding>>>,
}

/// A role by namespace ("" for a ClusterRole) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RoleRef {
    pub namespace: String,
    pub name: String,
}

impl RoleRef {
    /// What a binding in `namespace` refers to.
    pub(super) fn of(role_ref: &Value, namespace: &str) -> Self {
        let is_cluster = role_ref["kind"].as_str() == Some("ClusterRole");
        let namespace = if is_cluster { String::new() } else { namespace.to_owned() };
        Self { namespace, name: role_ref["name"].as_str().unwrap_or_default().to_owned() }
    }

    pub(super) fn resource(&self) -> &'static str {
        if self.namespace.is_empty() { "clusterroles" } else { "roles" }
    }

    fn describe_missing(&self) -> String {
        let kind = self.resource().trim_end_matches('s');
        format!("{kind}.{RBAC} {:?} not found", self.name)
    }
}

struct Binding {
    namespace: String,
    name: String,
    role: RoleRef,
}

impl Indexer {
    pub(super) fn current(&self, lookup: &dyn Lookup) -> Arc<Index> {
        let newest = Arc::clone(&self.newest.read());
        if newest.sources.are_current(lookup) {
            return newest;
        }
        let _building = self.building.lock();
        let newest = Arc::clone(&self.newest.read());
        if newest.sources.are_current(lookup) {
            return newest;
        }
        let built = Arc::new(Index::build(Sources::read(lookup)));
        *self.newest.write() = Arc::clone(&built);
        built
    }
}

impl Sources {
    /// Generations are read first: what changes between the two reads makes this look old, never new.
    fn read(lookup: &dyn Lookup) -> Self {
        let generations = RESOURCES.map(|resource| lookup.generation(RBAC, resource));
        Self { generations, lists: RESOURCES.map(|resource| lookup.list(RBAC, resource, None)) }
    }

    fn are_current(&self, lookup: &dyn Lookup) -> bool {
        RESOURCES.iter().enumerate().all(|(at, resource)| match lookup.generation(RBAC, resource) {
            Some(generation) => self.generations[at] == Some(generation),
            None => {
                let now = lookup.list(RBAC, resource, None);
                let old = &self.lists[at];
                now.len() == old.len()
                    && now.iter().zip(old).all(|(now, old)| Arc::ptr_eq(now, old))
            }
        })
    }
}

impl Index {
    fn build(sources: Sources) -> Self {
        let mut index = Self::default();
        let [cluster_roles, roles, cluster_bindings, bindings] = &sources.lists;
        for role in cluster_roles {
            let rules = if role["aggregationRule"].is_object() {
                parse_rules(&Value::Array(aggregate(role, cluster_roles)))
            } else {
                parse_rules(&role["rules"])
            };
            index.add_role("", role, rules);
        }
        for role in roles {
            index.add_role(api::meta::namespace(role), role, parse_rules(&role["rules"]));
        }
        for binding in cluster_bindings {
            index.add_binding("", binding);
        }
        for binding in bindings {
            index.add_binding(api::meta::namespace(binding), binding);
        }
        index.sources = sources;
        index
    }

    fn add_role(&mut self, namespace: &str, role: &Value, rules: Vec<Rule>) {
        let key = RoleRef { namespace: namespace.into(), name: api::meta::name(role).into() };
        self.roles.insert(key, rules.into());
    }

    fn add_binding(&mut self, namespace: &str, object: &Value) {
        let binding = Arc::new(Binding {
            namespace: namespace.into(),
            name: api::meta::name(object).into(),
            role: RoleRef::of(&object["roleRef"], namespace),
        });
        let by_subject = self.bindings.entry(namespace.to_owned()).or_default();
        for subject in object["subjects"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let text = |key: &str| subject[key].as_str().unwrap_or_default();
            let name = text("name").to_owned();
            let (map, key) = match text("kind") {
                "User" => (&mut by_subject.users, name),
                "Group" => (&mut by_subject.groups, name),
                "ServiceAccount" => {
                    let home =
                        if text("namespace").is_empty() { namespace } else { text("namespace") };
                    (
                        &mut by_subject.users,
                        format!("{}{home}:{name}", names::SERVICE_ACCOUNT_PREFIX),
                    )
                }
                _ => continue,
            };
            map.entry(key).or_default().push(Arc::clone(&binding));
        }
    }

    pub(super) fn role(&self, role: &RoleRef) -> Result<&Arc<[Rule]>, String> {
        self.roles.get(role).ok_or_else(|| role.describe_missing())
    }

    /// The bindings of a user that hold in `namespace`, cluster-wide ones first, each with the subject it names.
    fn bindings_of<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Binding, String)> {
        let scopes = [Some(""), (!namespace.is_empty()).then_some(namespace)].into_iter().flatten();
        scopes.filter_map(|scope| self.bindings.get(scope)).flat_map(move |by_subject| {
            let by_user = by_subject.users.get(&user.name).into_iter().flatten();
            let by_user = by_user.map(move |binding| (&**binding, describe_user(user)));
            let by_group = user.groups.iter().flat_map(move |group| {
                let bindings = by_subject.groups.get(group).into_iter().flatten();
                bindings.map(move |binding| (&**binding, format!("Group {group:?}")))
            });
            by_user.chain(by_group)
        })
    }

    pub(super) fn authorize(&self, wanted: &Attributes) -> Decision {
        let mut missing = Vec::new();
        for (binding, subject) in self.bindings_of(&wanted.user, &wanted.namespace) {
            match self.role(&binding.role) {
                Ok(rules) if rules.iter().any(|rule| rule.allows(wanted)) => {
                    return Decision::Allow(binding.describe(&subject));
                }
                Ok(_) => {}
                Err(error) if missing.contains(&error) => {}
                Err(error) => missing.push(error),
            }
        }
        if missing.is_empty() {
            return Decision::NoOpinion(String::new());
        }
        Decision::NoOpinion(format!("RBAC: {}", one_or_list(&missing)))
    }

    /// All rules that hold for a user in a namespace, and what could not be resolved.
    pub(super) fn rules_of(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for (binding, _) in self.bindings_of(user, namespace) {
            match self.role(&binding.role) {
                Ok(found) => rules.extend(found.iter().cloned()),
                Err(error) => errors.push(error),
            }
        }
        (rules, errors)
    }
}

impl Binding {
    fn describe(&self, subject: &str) -> String {
        let role = format!("{} {:?}", kind_of(&self.role), self.role.name);
        if self.namespace.is_empty() {
            return format!(
                "RBAC: allowed by ClusterRoleBinding {:?} of {role} to {subject}",
                self.name
            );
        }
        let binding = format!("{}/{}", self.name, self.namespace);
        format!("RBAC: allowed by RoleBinding {binding:?} of {role} to {subject}")
    }
}

fn kind_of(role: &RoleRef) -> &'static str {
    if role.namespace.is_empty() { "ClusterRole" } else { "Role" }
}

fn describe_user(user: &User) -> String {
    match user.service_account() {
        Some((namespace, name)) => format!("ServiceAccount {:?}", format!("{name}/{namespace}")),
        None => format!("User {:?}", user.name),
    }
}

/// As upstream prints an aggregate of errors.
fn one_or_list(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}
