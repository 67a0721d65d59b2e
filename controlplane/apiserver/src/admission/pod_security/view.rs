//! A pod as the standards look at it: every container of every list, and lists of names as messages write them.

use serde_json::Value;

/// The parts of a pod that are judged.
pub struct View<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
    pub version: super::policy::Version,
}

impl<'a> View<'a> {
    /// All containers in upstream's order.
    pub fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| spec[list].as_array())
            .flatten()
    }

    /// Names of the containers for which `is_bad`.
    pub fn names(&self, is_bad: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|one| is_bad(one)).map(name).collect()
    }

    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }
}

pub fn name(object: &Value) -> &str {
    object["name"].as_str().unwrap_or_default()
}

/// `"a", "b"`.
#[must_use]
pub fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{:?}", name.as_ref())).collect();
    quoted.join(", ")
}

#[must_use]
pub fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
#[must_use]
pub fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// Sorted, each once.
#[must_use]
pub fn set(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// What a check found: why in short, and what exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub reason: String,
    pub detail: String,
}

impl Finding {
    #[must_use]
    pub fn new(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: detail.into() }
    }
}
