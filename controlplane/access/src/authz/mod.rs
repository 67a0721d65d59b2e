//! From a [`User`] and a request to a decision: `system:masters`, then the node authorizer, then RBAC.

mod cover;
mod escalation;
mod forbidden;
mod index;
mod node;
mod node_graph;
mod node_restriction;
mod rules;

use std::sync::Arc;

use api::Status;
pub use forbidden::forbidden;
use index::Indexer;
pub use rules::aggregate;
use serde_json::{Value, json};

use crate::{Lookup, User, names};

/// API group of roles and bindings.
const RBAC: &str = "rbac.authorization.k8s.io";

/// One thing a user wants to do. A request for a path that is no API resource has an empty `resource`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    pub user: User,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `impersonate`, `bind`, ...;
    /// the HTTP method in lower case for a path.
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    /// "" at the cluster scope and for all namespaces.
    pub namespace: String,
    /// For a list or watch: what the field selector says `metadata.name` must be, if it does. Kubelets watch single
    /// Secrets that way, and rules with `resourceNames` allow it.
    pub name: String,
    pub path: String,
    /// Fields that a list or watch selects by equality (`spec.nodeName`, `n1`); a superset of what it reads.
    pub fields: Vec<(String, String)>,
}

/// What an authorizer says, with the reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allow(String),
    /// Refused, whatever others would say.
    Deny(String),
    NoOpinion(String),
}

impl Decision {
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Why, for `status.reason` of an access review.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(reason) | Self::Deny(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

/// Decides over the objects of a [`Lookup`]. Cheap to clone.
#[derive(Clone)]
pub struct Authorizer {
    lookup: Arc<dyn Lookup>,
    indexer: Arc<Indexer>,
}

/// What a user may do in a namespace, for SelfSubjectRulesReview.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RulesReview {
    /// `status` of the review: resourceRules, nonResourceRules, incomplete, evaluationError.
    pub status: Value,
}

impl Authorizer {
    #[must_use]
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup, indexer: Arc::default() }
    }

    #[must_use]
    pub fn authorize(&self, attributes: &Attributes) -> Decision {
        if attributes.user.is_in(names::MASTERS) {
            return Decision::Allow(String::new());
        }
        let by_node = node::authorize(self.lookup.as_ref(), attributes);
        if !matches!(by_node, Decision::NoOpinion(_)) {
            return by_node;
        }
        match self.indexer.current(self.lookup.as_ref()).authorize(attributes) {
            Decision::NoOpinion(by_rbac) => Decision::NoOpinion(join(by_node.reason(), &by_rbac)),
            decided => decided,
        }
    }

    /// [`Self::authorize`] with the 403 that a client gets.
    pub fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        match self.authorize(attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                Err(forbidden(attributes, &reason))
            }
        }
    }

    #[must_use]
    pub fn rules(&self, user: &User, namespace: &str) -> RulesReview {
        let index = self.indexer.current(self.lookup.as_ref());
        let (rules, mut errors) = index.rules_of(user, namespace);
        if user.node().is_some() {
            errors.push("node authorizer does not support user rule resolution".into());
        }
        let (resource, path): (Vec<_>, Vec<_>) =
            rules.iter().partition(|rule| rule.urls.is_empty());
        let resource: Vec<Value> = resource.iter().map(|rule| rule.to_json()).collect();
        let path: Vec<Value> = path.iter().map(|rule| rule.to_json()).collect();
        let mut status = json!({
            "resourceRules": resource, "nonResourceRules": path, "incomplete": !errors.is_empty(),
        });
        if !errors.is_empty() {
            status["evaluationError"] = json!(errors.join(", "));
        }
        RulesReview { status }
    }

    /// Refuses a write of a role or binding that would grant more than the writer has (resources `roles`,
    /// `clusterroles`, `rolebindings`, `clusterrolebindings`; others pass). `old` is the object before an update.
    pub fn check_escalation(
        &self,
        user: &User,
        resource: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        escalation::check(self, user, resource, object, old)
    }

    /// NodeRestriction admission for writes by kubelets; other users pass. `object` is what is written, `old` what
    /// is stored.
    pub fn check_node_write(
        &self,
        attributes: &Attributes,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        node_restriction::check(self.lookup.as_ref(), attributes, object, old)
    }
}

fn join(first: &str, second: &str) -> String {
    [first, second].iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod tests;
