//! Field selectors (`spec.nodeName=a,status.phase!=Failed`), upstream `apimachinery/pkg/fields`.

use std::borrow::Cow;

use serde_json::Value;

use crate::{Kind, Reason, Status, meta};

/// A parsed field selector: all terms must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl Fields {
    /// 400 `field label not supported: x` for a field that the kind does not select by.
    pub fn parse(kind: &Kind, text: &str) -> Result<Self, Status> {
        let bad = |message: String| Status::new(Reason::BadRequest, message);
        let mut terms = Vec::new();
        for part in split_terms(text).into_iter().filter(|part| !part.is_empty()) {
            let term = parse_term(&part).ok_or_else(|| {
                bad(format!("invalid selector: '{text}'; can't understand '{part}'"))
            })?;
            if !is_selectable(kind, &term.field) {
                return Err(bad(unsupported(kind, &term.field)));
            }
            terms.push(term);
        }
        Ok(Self { terms })
    }

    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (value_of(object, &term.field) == term.value) == term.equal)
    }

    /// The value that `field` must equal, if the selector says so (`metadata.name=x` makes a list a get).
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// True when every object matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
}

fn is_selectable(kind: &Kind, field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace")
        || kind.selectable_fields.iter().any(|one| one == field)
}

fn unsupported(kind: &Kind, field: &str) -> String {
    if kind.selectable_fields.is_empty() && !kind.schema.is_empty() {
        format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )
    } else {
        format!("field label not supported: {field}")
    }
}

/// Splits at commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        parts.last_mut().expect("starts with one part").push(c);
    }
    parts
}

fn parse_term(part: &str) -> Option<Term> {
    let (at, operator) = part.char_indices().find_map(|(at, _)| {
        ["!=", "==", "="].into_iter().find(|op| part[at..].starts_with(op)).map(|op| (at, op))
    })?;
    let value = unescape(&part[at + operator.len()..])?;
    Some(Term { field: part[..at].to_owned(), value, equal: operator != "!=" })
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                next @ ('\\' | ',' | '=') => out.push(next),
                _ => return None,
            },
            ',' | '=' => return None,
            _ => out.push(c),
        }
    }
    Some(out)
}

/// A field's text; absent is "" (false and 0 for the fields that upstream prints so).
fn value_of<'a>(object: &'a Value, field: &str) -> Cow<'a, str> {
    let own = meta::at(object, field).and_then(scalar);
    own.or_else(|| {
        other_paths(field).iter().filter_map(|path| scalar(meta::at(object, path)?)).next()
    })
    .unwrap_or(Cow::Borrowed(match field {
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        "status.replicas" | "status.successful" => "0",
        "spec.restartPolicy" => "Always",
        _ => "",
    }))
}

/// The text of a value that is not empty.
fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => (!text.is_empty()).then_some(Cow::Borrowed(text)),
        Value::Bool(flag) => Some(Cow::Owned(flag.to_string())),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// Where fields are whose selector name is not their path, the first that is there counts: events have two shapes and reporters
/// (upstream `pkg/registry/core/event/strategy.go`), jobs have computed fields.
fn other_paths(field: &str) -> Vec<String> {
    if let Some(rest) = field.strip_prefix("involvedObject.") {
        return vec![format!("regarding.{rest}")];
    }
    if let Some(rest) = field.strip_prefix("regarding.") {
        return vec![format!("involvedObject.{rest}")];
    }
    let paths: &[&str] = match field {
        "source" => &[
            "source.component",
            "deprecatedSource.component",
            "reportingComponent",
            "reportingController",
        ],
        "reportingController" => &["reportingComponent"],
        "reportingComponent" => &["reportingController"],
        "status.successful" => &["status.succeeded"],
        _ => &[],
    };
    paths.iter().map(|&path| path.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods() -> Kind {
        crate::kinds().into_iter().find(|kind| kind.plural == "pods").unwrap()
    }

    #[test]
    fn fields_match() {
        let pod = json!({"metadata": {"name": "x"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        for (text, expected) in [
            ("", true),
            ("metadata.name=x", true),
            ("spec.nodeName==n1,status.phase!=Failed", true),
            ("status.phase=Failed", false),
            ("spec.hostNetwork=false", true),
        ] {
            assert_eq!(Fields::parse(&pods(), text).unwrap().matches(&pod), expected, "{text}");
        }
        let event = json!({"involvedObject": {"name": "p"}, "source": {"component": "kubelet"}});
        assert_eq!(value_of(&event, "regarding.name"), "p");
        assert_eq!(value_of(&event, "involvedObject.name"), "p");
        assert_eq!(value_of(&event, "source"), "kubelet");
        for reported in [
            json!({"source": {}, "reportingComponent": "kubelet"}),
            json!({"deprecatedSource": {}, "reportingController": "kubelet"}),
        ] {
            assert_eq!(value_of(&reported, "source"), "kubelet");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let status = Fields::parse(&pods(), "spec.foo=1").unwrap_err();
        assert_eq!(status.message, "field label not supported: spec.foo");
        assert!(
            Fields::parse(&pods(), "nonsense").unwrap_err().message.contains("can't understand")
        );
        assert_eq!(
            Fields::parse(&pods(), "metadata.name=a\\,b").unwrap().exact("metadata.name"),
            Some("a,b")
        );
    }
}
