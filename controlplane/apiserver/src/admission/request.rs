//! What is admitted: the request, the object's kind and the options, as every plugin sees them.

use access::authz::Attributes;
use api::{Kind, Scope, Status, meta};
use serde_json::{Map, Value, json};

use crate::{call::Call, errors};

/// What kind of request is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// exec, attach, portforward, proxy: nothing is stored.
    Connect,
}

impl Operation {
    /// As webhook rules and AdmissionReviews write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Group, version and kind of the object in a request; another one than the resource's for some subresources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectKind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// One request on its way through the chain. Objects travel beside it: `Value::Null` where there is none.
pub struct Request<'a> {
    pub call: &'a Call,
    pub operation: Operation,
    pub object_kind: ObjectKind,
    /// "" while the server has still to generate it.
    pub name: String,
    /// "" for cluster-scoped objects; a Namespace is in itself.
    pub namespace: String,
    /// CreateOptions, UpdateOptions, PatchOptions or DeleteOptions; null for connections.
    pub options: Value,
    pub dry_run: bool,
}

impl<'a> Request<'a> {
    /// A creation of `object`, or of a body posted to a subresource.
    pub fn create(call: &'a Call, object: &Value) -> Result<Self, Status> {
        let dry_run = call.query.dry_run()?;
        let named = meta::name(object);
        let name = if call.target.name.is_empty() { named } else { &call.target.name };
        let kind = if call.verb == "patch" { "PatchOptions" } else { "CreateOptions" };
        let options = write_options(call, kind, dry_run);
        Ok(Self::new(call, Operation::Create, name, options, dry_run))
    }

    /// A change of the call's object, by PUT or PATCH.
    pub fn update(call: &'a Call) -> Result<Self, Status> {
        let dry_run = call.query.dry_run()?;
        let kind = if call.verb == "patch" { "PatchOptions" } else { "UpdateOptions" };
        let options = write_options(call, kind, dry_run);
        Ok(Self::new(call, Operation::Update, &call.target.name, options, dry_run))
    }

    /// A deletion of one object, also as part of a collection. `options` are the client's.
    #[must_use]
    pub fn delete(
        call: &'a Call,
        (namespace, name): (&str, &str),
        options: Value,
        dry_run: bool,
    ) -> Self {
        let mut request = Self::new(call, Operation::Delete, name, options, dry_run);
        if !is_namespaces(&call.kind) && call.kind.scope == Scope::Namespaced {
            request.namespace = namespace.to_owned();
        }
        request
    }

    /// A stream to a pod, service or node.
    #[must_use]
    pub fn connect(call: &'a Call) -> Self {
        Self::new(call, Operation::Connect, &call.target.name, Value::Null, false)
    }

    fn new(
        call: &'a Call,
        operation: Operation,
        name: &str,
        options: Value,
        dry_run: bool,
    ) -> Self {
        let namespace = match call.kind.scope {
            Scope::Namespaced => call.target.namespace.as_str(),
            Scope::Cluster if is_namespaces(&call.kind) => name,
            Scope::Cluster => "",
        };
        Self {
            call,
            operation,
            object_kind: object_kind(&call.kind, &call.target.subresource),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            options,
            dry_run,
        }
    }

    #[must_use]
    pub fn kind(&self) -> &'a Kind {
        &self.call.kind
    }

    #[must_use]
    pub fn subresource(&self) -> &'a str {
        &self.call.target.subresource
    }

    /// Whether the request is about these objects themselves, not a subresource.
    #[must_use]
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.is_sub(group, resource, "")
    }

    /// Whether the request is about this subresource.
    #[must_use]
    pub fn is_sub(&self, group: &str, resource: &str, subresource: &str) -> bool {
        let kind = self.kind();
        kind.group == group && kind.plural == resource && self.subresource() == subresource
    }

    #[must_use]
    pub fn is_create(&self) -> bool {
        self.operation == Operation::Create
    }

    #[must_use]
    pub fn is_update(&self) -> bool {
        self.operation == Operation::Update
    }

    /// 403 about the request's object. Without a name upstream says `Unknown`.
    #[must_use]
    pub fn refuse(&self, object: &Value, why: &str) -> Status {
        let named = meta::name(object);
        let name = if named.is_empty() { self.name.as_str() } else { named };
        let generated = meta::text(object, "generateName");
        let name = if name.is_empty() { generated } else { name };
        errors::forbidden(self.kind(), if name.is_empty() { "Unknown" } else { name }, why)
    }

    /// Whether a plugin that is off by default was turned on.
    #[must_use]
    pub fn has_plugin(&self, name: &str) -> bool {
        self.call.app.config.admission_plugins.iter().any(|one| one == name)
    }

    /// Adds a text for a `Warning:` header, once.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.call.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Notes something for the audit log.
    pub fn annotate(&self, key: &str, value: &str) {
        crate::audit::annotate(key, value);
    }

    /// What is authorized: the call's attributes with the object's own name.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        let mut attributes = self.call.attributes();
        attributes.name.clone_from(&self.name);
        attributes
    }
}

fn is_namespaces(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "namespaces"
}

fn object_kind(kind: &Kind, subresource: &str) -> ObjectKind {
    let own = kind.subresource(subresource).filter(|sub| !sub.kind.is_empty());
    match own {
        Some(sub) => ObjectKind {
            group: sub.group.clone(),
            version: sub.version.clone(),
            kind: sub.kind.clone(),
        },
        None => ObjectKind {
            group: kind.group.clone(),
            version: kind.version.clone(),
            kind: kind.kind.clone(),
        },
    }
}

fn write_options(call: &Call, kind: &str, dry_run: bool) -> Value {
    let mut options = Map::new();
    options.insert("kind".into(), json!(kind));
    options.insert("apiVersion".into(), json!("meta.k8s.io/v1"));
    if dry_run {
        options.insert("dryRun".into(), json!(["All"]));
    }
    for field in ["fieldManager", "fieldValidation"] {
        let value = call.query.get(field);
        if !value.is_empty() {
            options.insert(field.into(), json!(value));
        }
    }
    if kind == "PatchOptions" && call.query.has("force") {
        options.insert("force".into(), json!(call.query.flag("force")));
    }
    Value::Object(options)
}
