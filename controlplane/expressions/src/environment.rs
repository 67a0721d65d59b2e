//! What an expression may name: variables with their types, and which optional parts of the library exist.

use std::collections::BTreeMap;

use crate::types::{ObjectType, Type};

/// The names that expressions of one purpose see.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub(crate) variables: BTreeMap<String, Type>,
    pub(crate) composed: BTreeMap<String, Type>,
    /// `Object{}` and `JSONPatch{}` may be built.
    pub(crate) mutation: bool,
}

impl Environment {
    /// Kubernetes' library and no variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable. Its name may be qualified (`authorizer.requestResource`).
    #[must_use]
    pub fn variable(mut self, name: &str, of: Type) -> Self {
        self.variables.insert(name.to_owned(), of);
        self
    }

    /// Adds the variable `authorizer`.
    #[must_use]
    pub fn authorizer(self) -> Self {
        self.variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
    }

    /// Adds the variable `authorizer.requestResource`.
    #[must_use]
    pub fn request_resource(self) -> Self {
        self.variable(
            "authorizer.requestResource",
            Type::Opaque("kubernetes.authorization.ResourceCheck"),
        )
    }

    /// Adds `variables.NAME`, the result of another expression (policies' `spec.variables`).
    #[must_use]
    pub fn composed(mut self, name: &str, of: Type) -> Self {
        self.composed.insert(name.to_owned(), of);
        self
    }

    /// Lets expressions build `Object{...}`, its nested `Object.spec{...}`, and `JSONPatch{...}`.
    #[must_use]
    pub fn mutation(mut self) -> Self {
        self.mutation = true;
        self
    }

    pub(crate) fn object_type(&self, name: &str) -> Option<Type> {
        if !self.mutation {
            return None;
        }
        if name == "JSONPatch" {
            let text = ["op", "path", "from"].map(|field| (field.to_owned(), Type::String));
            let fields = text.into_iter().chain([("value".to_owned(), Type::Dyn)]).collect();
            return Some(Type::Object(
                ObjectType { name: name.to_owned(), fields: Some(fields) }.into(),
            ));
        }
        (name == "Object" || name.starts_with("Object.")).then(|| Type::open_object(name))
    }
}
