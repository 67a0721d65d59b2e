//! Builds rows of the table of kinds.

use super::{Kind, Scope, Subresource};

/// All verbs of an ordinary resource, in the order that discovery lists them.
const ALL_VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const WRITE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// A group and version with the prefix of its schema names.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub name: &'static str,
    pub version: &'static str,
    pub schema: &'static str,
}

pub(super) const fn group(
    name: &'static str,
    version: &'static str,
    schema: &'static str,
) -> Group {
    Group { name, version, schema }
}

impl Group {
    pub fn namespaced(self, kind: &str, plural: &str) -> Kind {
        self.kind(kind, plural, Scope::Namespaced)
    }

    pub fn cluster(self, kind: &str, plural: &str) -> Kind {
        self.kind(kind, plural, Scope::Cluster)
    }

    fn kind(self, kind: &str, plural: &str, scope: Scope) -> Kind {
        Kind {
            group: self.name.to_owned(),
            version: self.version.to_owned(),
            storage_version: self.version.to_owned(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope,
            verbs: texts(&ALL_VERBS),
            subresources: Vec::new(),
            selectable_fields: Vec::new(),
            schema: format!("{}.{kind}", self.schema),
            columns: crate::columns::built_in(self.name, kind),
            deprecation: None,
            custom: None,
        }
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn split(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

impl Kind {
    /// Space-separated short names.
    pub(super) fn short(mut self, names: &str) -> Self {
        self.short_names = split(names);
        self
    }

    pub(super) fn category(mut self, name: &str) -> Self {
        self.categories = split(name);
        self
    }

    /// Space-separated field labels that lists may select by.
    pub(super) fn selects(mut self, fields: &str) -> Self {
        self.selectable_fields = split(fields);
        self
    }

    /// Space-separated verbs instead of all.
    pub(super) fn only(mut self, verbs: &str) -> Self {
        self.verbs = split(verbs);
        self
    }

    /// `v1 Endpoints is deprecated in <this>`.
    pub(super) fn deprecated(mut self, since: &str) -> Self {
        self.deprecation =
            Some(format!("{} {} is deprecated in {since}", self.api_version(), self.kind));
        self
    }

    pub(super) fn stored_as(mut self, version: &str) -> Self {
        self.storage_version = version.to_owned();
        self
    }

    /// A subresource whose body is the parent's kind, with get, patch and update.
    pub(super) fn part(self, name: &str) -> Self {
        self.sub(name, ("", "", ""), &WRITE_VERBS.join(" "))
    }

    pub(super) fn status(self) -> Self {
        self.part("status")
    }

    pub(super) fn scale(self) -> Self {
        self.sub("scale", ("autoscaling", "v1", "Scale"), &WRITE_VERBS.join(" "))
    }

    /// A subresource with its own body (group, version, kind).
    pub(super) fn sub(mut self, name: &str, body: (&str, &str, &str), verbs: &str) -> Self {
        self.subresources.push(Subresource {
            name: name.to_owned(),
            group: body.0.to_owned(),
            version: body.1.to_owned(),
            kind: body.2.to_owned(),
            verbs: split(verbs),
        });
        self
    }
}
