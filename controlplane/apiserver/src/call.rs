//! One request to a resource, after routing, authentication and authorization.

use std::sync::Arc;

use access::{User, authz::Attributes};
use api::{Kind, Status, patch::apply::Writer};
use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    accept::Output,
    app::App,
    body::{self, Validation},
    errors,
    keys::Collection,
    query::Query,
    route::Target,
};

/// A request and all that is known of it.
pub struct Call {
    pub app: Arc<App>,
    pub kind: Arc<Kind>,
    pub collection: Collection,
    pub target: Target,
    pub verb: &'static str,
    pub method: Method,
    pub uri: Uri,
    pub query: Query,
    pub headers: HeaderMap,
    pub user: User,
    pub output: Output,
    /// Texts for `Warning:` headers.
    pub warnings: Arc<Mutex<Vec<String>>>,
    pub body: Option<Incoming>,
    pub upgrade: Option<OnUpgrade>,
}

impl Call {
    #[must_use]
    pub fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The whole body, bounded.
    pub async fn read_body(&mut self) -> Result<Bytes, Status> {
        match self.body.take() {
            Some(body) => body::read(body).await,
            None => Ok(Bytes::new()),
        }
    }

    /// The body as an object, without any check against a schema.
    pub async fn read_plain(&mut self) -> Result<Value, Status> {
        let bytes = self.read_body().await?;
        Ok(body::decode(self.header(header::CONTENT_TYPE), &bytes)?.object)
    }

    /// The body as an object of `kind`, checked as `fieldValidation` asks.
    pub async fn read_object(&mut self, kind: &Kind) -> Result<Value, Status> {
        let bytes = self.read_body().await?;
        let decoded = body::decode(self.header(header::CONTENT_TYPE), &bytes)?;
        self.check_fields(kind, decoded)
    }

    /// Applies `fieldValidation` and drops unknown fields.
    pub fn check_fields(&self, kind: &Kind, decoded: body::Decoded) -> Result<Value, Status> {
        let validation = Validation::parse(self.query.get("fieldValidation"))?;
        let (object, warnings) = body::check(kind, decoded, validation)?;
        self.warnings.lock().extend(warnings);
        Ok(object)
    }

    /// `fieldManager`, else what the client calls itself.
    #[must_use]
    pub fn manager(&self) -> String {
        let named = self.query.get("fieldManager");
        if !named.is_empty() {
            return named.to_owned();
        }
        let agent = self.header(header::USER_AGENT).split('/').next().unwrap_or_default();
        if agent.is_empty() { "unknown".to_owned() } else { agent.chars().take(128).collect() }
    }

    /// Whether JSON is written for people: when asked, else for browsers and what is used in shells, as upstream.
    #[must_use]
    pub fn is_pretty(&self) -> bool {
        is_pretty(self.query.get("pretty"), self.header(header::USER_AGENT))
    }

    /// Who writes, for `managedFields`.
    #[must_use]
    pub fn writer<'a>(&'a self, manager: &'a str, now: &'a str) -> Writer<'a> {
        let subresource = self.target.subresource.as_str();
        Writer { manager, subresource, now, force: self.query.flag("force") }
    }

    /// What is to be authorized.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        attributes(&self.user, self.verb, &self.target, &self.query)
    }

    /// The present object, or 404.
    pub fn current(&self) -> Result<Arc<crate::cache::Item>, Status> {
        self.app
            .cache
            .get(&self.collection, self.namespace(), &self.target.name)
            .ok_or_else(|| errors::not_found(&self.kind, &self.target.name))
    }

    /// The namespace objects of this kind are stored under: "" for cluster-scoped kinds.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self.kind.scope {
            api::Scope::Cluster => "",
            api::Scope::Namespaced => &self.target.namespace,
        }
    }
}

fn is_pretty(asked: &str, agent: &str) -> bool {
    match asked {
        "" => ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name)),
        asked => matches!(asked, "1" | "t" | "T" | "true" | "TRUE" | "True"),
    }
}

/// Authorization attributes of a resource request.
#[must_use]
pub fn attributes(user: &User, verb: &str, target: &Target, query: &Query) -> Attributes {
    let reads_many = matches!(verb, "list" | "watch" | "deletecollection");
    let fields = if reads_many { equalities(query.get("fieldSelector")) } else { Vec::new() };
    let named = fields.iter().find(|(field, _)| field == "metadata.name");
    let name = match (target.name.as_str(), named) {
        ("", Some((_, value))) => value.clone(),
        _ => target.name.clone(),
    };
    Attributes {
        user: user.clone(),
        verb: verb.to_owned(),
        group: target.group.clone(),
        resource: target.resource.clone(),
        subresource: target.subresource.clone(),
        namespace: target.namespace.clone(),
        name,
        path: String::new(),
        fields,
    }
}

/// The terms of a field selector that want a field to be equal to something. All terms must hold, so each of them
/// alone is true of what is read.
#[must_use]
pub fn equalities(selector: &str) -> Vec<(String, String)> {
    let terms = selector.split(',').filter(|_| !selector.contains('\\'));
    terms
        .filter_map(|term| {
            let (field, value) = term.split_once('=')?;
            let value = value.strip_prefix('=').unwrap_or(value);
            (!field.ends_with('!')).then(|| (field.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_their_json_in_lines() {
        for (asked, agent, expect) in [
            ("", "kubectl/v1.36.4", false),
            ("", "curl/8.0", true),
            ("false", "curl/8.0", false),
            ("true", "kubectl/v1.36.4", true),
            ("no", "Mozilla/5.0 (X11)", false),
        ] {
            assert_eq!(is_pretty(asked, agent), expect, "{asked} {agent}");
        }
    }

    #[test]
    fn equalities_are_found_in_field_selectors() {
        let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
        for (text, expect) in [
            ("", vec![]),
            ("spec.nodeName=a", vec![pair("spec.nodeName", "a")]),
            ("spec.nodeName==a,status.phase!=Failed", vec![pair("spec.nodeName", "a")]),
            ("spec.nodeName=a\\,b", vec![]),
        ] {
            assert_eq!(equalities(text), expect, "{text}");
        }
    }
}
