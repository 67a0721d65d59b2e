//! The identity that authentication produces and authorization reads.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Names with a meaning of their own (upstream `apiserver/pkg/authentication/user`).
pub mod names {
    pub const ANONYMOUS: &str = "system:anonymous";
    pub const AUTHENTICATED: &str = "system:authenticated";
    pub const UNAUTHENTICATED: &str = "system:unauthenticated";
    /// May do everything, without any rule being read.
    pub const MASTERS: &str = "system:masters";
    pub const NODES: &str = "system:nodes";
    pub const NODE_PREFIX: &str = "system:node:";
    pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
    /// The group of kubeadm's default tokens; ours are made for it too.
    pub const NODE_TOKEN_BOOTSTRAPPERS: &str = "system:bootstrappers:kubeadm:default-node-token";
    pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
    pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
    pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
    pub const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
    pub const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
    pub const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
    pub const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
}

/// Who sent a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user of the given groups, without uid and extra.
    #[must_use]
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// A request without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(names::ANONYMOUS, &[names::UNAUTHENTICATED])
    }

    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The node's name when this is a kubelet's identity (`system:node:<name>` in `system:nodes`).
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix(names::NODE_PREFIX)?;
        (!name.is_empty() && self.is_in(names::NODES)).then_some(name)
    }

    /// Namespace and name when this is a service account.
    #[must_use]
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) =
            self.name.strip_prefix(names::SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':'))
            .then_some((namespace, name))
    }

    /// `authentication.k8s.io/v1 UserInfo`, as reviews and admission carry it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut info = serde_json::Map::new();
        if !self.name.is_empty() {
            info.insert("username".into(), json!(self.name));
        }
        if !self.uid.is_empty() {
            info.insert("uid".into(), json!(self.uid));
        }
        if !self.groups.is_empty() {
            info.insert("groups".into(), json!(self.groups));
        }
        if !self.extra.is_empty() {
            info.insert("extra".into(), json!(self.extra));
        }
        Value::Object(info)
    }
}
