//! The query parameters of a request, parsed once.

use api::{Reason, Status};

/// Decoded `key=value` pairs in order.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// How `resourceVersion` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionMatch {
    Unset,
    Exact,
    NotOlderThan,
}

impl Query {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        Self { pairs }
    }

    /// The first value of a key, "" when absent.
    #[must_use]
    pub fn get(&self, key: &str) -> &str {
        self.pairs.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str())
    }

    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(k, _)| k == key)
    }

    /// All values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Upstream's reading of booleans: absent, `0` and `false` are false, everything else is true.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.has(key) && !matches!(self.get(key), "0" | "false" | "False" | "FALSE")
    }

    /// A number, or 400.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        let text = self.get(key);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            Status::new(
                Reason::BadRequest,
                format!("strconv.ParseInt: parsing {text:?}: invalid syntax"),
            )
        })
    }

    /// `resourceVersion` as a number; `None` when unset.
    pub fn resource_version(&self) -> Result<Option<u64>, Status> {
        let text = self.get("resourceVersion");
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            let message =
                format!("resourceVersion: Invalid value: {text:?}: must be an unsigned integer");
            Status::new(Reason::BadRequest, message)
        })
    }

    pub fn version_match(&self) -> Result<VersionMatch, Status> {
        match self.get("resourceVersionMatch") {
            "" => Ok(VersionMatch::Unset),
            "Exact" => Ok(VersionMatch::Exact),
            "NotOlderThan" => Ok(VersionMatch::NotOlderThan),
            other => Err(forbidden_list_option(
                "resourceVersionMatch",
                &format!(
                    "Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""
                ),
            )),
        }
    }

    /// `dryRun=All`; any other value is a 422.
    pub fn dry_run(&self) -> Result<bool, Status> {
        match self.all("dryRun").find(|value| *value != "All") {
            None => Ok(self.has("dryRun")),
            Some(other) => {
                let message =
                    format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"");
                Err(Status::new(Reason::Invalid, message))
            }
        }
    }

    /// Pairs without the given keys, encoded again.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        out.extend_pairs(&self.pairs);
        out.finish()
    }
}

/// The 422 for a list option that may not be used so.
#[must_use]
pub fn forbidden_list_option(field: &str, problem: &str) -> Status {
    Status::new(
        Reason::Invalid,
        format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_numbers() {
        let query = Query::parse("watch&a=0&b=1&c=false&limit=5&x=y%20z");
        assert!(query.flag("watch") && query.flag("b"));
        assert!(!query.flag("a") && !query.flag("c") && !query.flag("d"));
        assert_eq!(query.number("limit").unwrap(), Some(5));
        assert_eq!(query.get("x"), "y z");
        assert!(query.number("x").is_err());
    }
}
