//! The values behind the names of one evaluation.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use crate::{
    eval::Outcome,
    functions::authorizer::{AccessHandle, Authorize},
    program::Program,
    value::{Opaque, Value},
};

/// Values of an environment's variables. Composed ones are evaluated when first used, and once.
#[derive(Debug, Default)]
pub struct Variables {
    pub(crate) values: BTreeMap<String, Value>,
    pub(crate) composed: BTreeMap<String, Arc<Program>>,
    pub(crate) known: RefCell<BTreeMap<String, Outcome>>,
}

impl Variables {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a variable its value.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// The same, for chains.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Gives `authorizer` its meaning. Checks are of the user that `authorize` stands for.
    pub fn set_authorizer(&mut self, authorize: Arc<dyn Authorize + Send + Sync>) {
        self.set("authorizer", Value::opaque(Opaque::Access(AccessHandle::root(authorize))));
    }

    /// Gives `authorizer.requestResource` its meaning: a check of the request's own resource.
    pub fn set_request_resource(
        &mut self,
        authorize: Arc<dyn Authorize + Send + Sync>,
        resource: crate::functions::authorizer::ResourceCheck,
    ) {
        let handle = AccessHandle::resource(authorize, resource);
        self.set("authorizer.requestResource", Value::opaque(Opaque::Access(handle)));
    }

    /// Gives `variables.NAME` its expression.
    pub fn compose(&mut self, name: &str, program: Arc<Program>) {
        self.composed.insert(name.to_owned(), program);
    }
}
