//! Names of fields as identifiers (KEP-2876; upstream `apiserver/pkg/cel/escaping.go`).

use crate::syntax::RESERVED;

/// What the grammar itself takes, and a name that no field has (upstream's marker).
const TAKEN: [&str; 5] = ["true", "false", "null", "in", "__internal_never"];
const SIGNS: [(&str, &str); 4] =
    [("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")];

fn is_taken(name: &str) -> bool {
    TAKEN.contains(&name) || RESERVED.contains(&name)
}

/// The identifier for a field's name; `None` when no identifier can stand for it.
#[must_use]
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if is_taken(name) {
        return Some(format!("__{name}__"));
    }
    let mut escaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(next) = rest.chars().next() {
        if let Some((sign, word)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            escaped.push_str(word);
            rest = &rest[sign.len()..];
        } else if next.is_ascii_alphanumeric() || next == '_' {
            escaped.push(next);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(escaped)
}

/// The field's name that an identifier stands for.
#[must_use]
pub fn unescape(identifier: &str) -> String {
    let word = identifier.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = word
        && is_taken(word)
    {
        return word.to_owned();
    }
    let mut name = String::with_capacity(identifier.len());
    let mut rest = identifier;
    while let Some(next) = rest.chars().next() {
        if let Some((sign, word)) = SIGNS.iter().find(|(_, word)| rest.starts_with(word)) {
            name.push_str(sign);
            rest = &rest[word.len()..];
        } else {
            name.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers_and_back() {
        for (name, identifier) in [
            ("namespace", "__namespace__"),
            ("x-prop", "x__dash__prop"),
            ("redact__d", "redact__underscores__d"),
            ("string", "string"),
            ("a.b/c", "a__dot__b__slash__c"),
            ("if", "__if__"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(identifier));
            assert_eq!(unescape(identifier), name);
        }
        assert_eq!(escape("1a"), None);
        assert_eq!(escape("a b"), None);
    }
}
