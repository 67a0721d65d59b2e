//! One rule of a role, whether it allows a request, and what an aggregated role consists of.

use std::{collections::BTreeSet, sync::Arc};

use api::selector::Labels;
use serde_json::{Map, Value, json};

use super::Attributes;

/// A `PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    /// `resourceNames`; empty: all.
    pub names: Vec<String>,
    /// `nonResourceURLs`
    pub urls: Vec<String>,
}

impl Rule {
    fn parse(value: &Value) -> Self {
        let texts = |key: &str| -> Vec<String> {
            let texts = value[key].as_array().map(Vec::as_slice).unwrap_or_default();
            texts.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            urls: texts("nonResourceURLs"),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut object = Map::new();
        for (key, texts) in [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ] {
            if !texts.is_empty() {
                object.insert(key.into(), json!(texts));
            }
        }
        Value::Object(object)
    }

    pub(super) fn allows(&self, wanted: &Attributes) -> bool {
        if !has(&self.verbs, &wanted.verb) {
            return false;
        }
        if wanted.resource.is_empty() {
            return self.urls.iter().any(|url| url_matches(url, &wanted.path));
        }
        has(&self.groups, &wanted.group)
            && self
                .resources
                .iter()
                .any(|own| resource_matches(own, &wanted.resource, &wanted.subresource))
            && (self.names.is_empty() || self.names.contains(&wanted.name))
    }
}

/// Whether the list holds the text or `*`.
pub(super) fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|own| own == "*" || own == text)
}

fn resource_matches(own: &str, resource: &str, subresource: &str) -> bool {
    match own.split_once('/') {
        None => own == "*" || (subresource.is_empty() && own == resource),
        Some((parent, child)) => {
            !subresource.is_empty() && child == subresource && (parent == "*" || parent == resource)
        }
    }
}

pub(super) fn url_matches(own: &str, path: &str) -> bool {
    own == path
        || own
            .strip_suffix('*')
            .is_some_and(|prefix| path.starts_with(prefix.trim_end_matches('*')))
}

/// The rules of a role as its `rules` field has them.
pub(super) fn parse_rules(rules: &Value) -> Vec<Rule> {
    rules.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(Rule::parse).collect()
}

/// The rules of a ClusterRole with an `aggregationRule`: the union over the roles it selects, in order of their names,
/// each rule once. Selected roles that aggregate themselves count with what they select. `all` are all ClusterRoles.
#[must_use]
pub fn aggregate(role: &Value, all: &[Arc<Value>]) -> Vec<Value> {
    let mut union = Vec::new();
    let mut visited = BTreeSet::from([api::meta::name(role)]);
    let mut waiting = vec![role];
    while let Some(next) = waiting.pop() {
        let mut selected = select(next, all);
        selected.retain(|role| visited.insert(api::meta::name(role)));
        for role in &selected {
            if role["aggregationRule"].is_object() {
                continue;
            }
            for rule in role["rules"].as_array().into_iter().flatten() {
                if !union.contains(rule) {
                    union.push(rule.clone());
                }
            }
        }
        waiting.extend(selected.into_iter().filter(|role| role["aggregationRule"].is_object()));
    }
    union
}

fn select<'a>(role: &Value, all: &'a [Arc<Value>]) -> Vec<&'a Value> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array();
    let selectors: Vec<Labels> = selectors
        .into_iter()
        .flatten()
        .filter_map(|selector| Labels::from_selector(selector).ok())
        .collect();
    let is_selected =
        |role: &&Value| selectors.iter().any(|selector| selector.matches_object(role));
    let mut selected: Vec<&Value> = all.iter().map(AsRef::as_ref).filter(is_selected).collect();
    selected.sort_by_key(|role| api::meta::name(role));
    selected
}
