//! From a [`User`] and a request to a decision: `system:masters`, then the node authorizer, then RBAC.

use std::sync::Arc;

use api::Status;
use serde_json::Value;

use crate::{Lookup, User};

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
    pub name: String,
    pub path: String,
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
}

/// Decides over the objects of a [`Lookup`]. Cheap to clone.
#[derive(Clone)]
pub struct Authorizer {}

/// What a user may do in a namespace, for SelfSubjectRulesReview.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RulesReview {
    /// `status` of the review: resourceRules, nonResourceRules, incomplete, evaluationError.
    pub status: Value,
}

impl Authorizer {
    #[must_use]
    pub fn new(_lookup: Arc<dyn Lookup>) -> Self {
        todo!()
    }
    #[must_use]
    pub fn authorize(&self, _attributes: &Attributes) -> Decision {
        todo!()
    }
    /// [`Self::authorize`] with the 403 that a client gets.
    pub fn check(&self, _attributes: &Attributes) -> Result<(), Status> {
        todo!()
    }
    #[must_use]
    pub fn rules(&self, _user: &User, _namespace: &str) -> RulesReview {
        todo!()
    }
    /// Refuses a write of a role or binding that would grant more than the writer has (resources `roles`,
    /// `clusterroles`, `rolebindings`, `clusterrolebindings`; others pass). `old` is the object before an update.
    pub fn check_escalation(
        &self,
        _user: &User,
        _resource: &str,
        _object: &Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        todo!()
    }
    /// NodeRestriction admission for writes by kubelets; other users pass.
    pub fn check_node_write(
        &self,
        _attributes: &Attributes,
        _object: Option<&Value>,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        todo!()
    }
}

/// The 403 in upstream's words; `reason` may be empty.
#[must_use]
pub fn forbidden(_attributes: &Attributes, _reason: &str) -> Status {
    todo!()
}

/// The rules of a ClusterRole with an `aggregationRule`: the union over the roles it selects.
#[must_use]
pub fn aggregate(_role: &Value, _all: &[Arc<Value>]) -> Vec<Value> {
    todo!()
}
