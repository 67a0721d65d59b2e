//! Syntax of names, labels and annotations, upstream `apimachinery/pkg/util/validation`. Each check gives the
//! problem's text, or `None`.

use std::sync::LazyLock;

use regex::Regex;

const DNS1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1123_SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1035_LABEL: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";
const WILDCARD: &str = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const C_IDENTIFIER: &str = "[A-Za-z_][A-Za-z0-9_]*";
const HTTP_PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
const PERCENT: &str = "[0-9]+%";
const REASON: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(&format!("^(?:{})$", $text)).expect("static pattern"));
    };
}
pattern!(LABEL_1123, DNS1123_LABEL);
pattern!(SUBDOMAIN_1123, DNS1123_SUBDOMAIN);
pattern!(LABEL_1035, DNS1035_LABEL);
pattern!(QUALIFIED_NAME, QUALIFIED);
pattern!(VALUE, LABEL_VALUE);
pattern!(KEY, CONFIG_KEY);
pattern!(WILDCARD_NAME, WILDCARD);
pattern!(IDENTIFIER, C_IDENTIFIER);
pattern!(URL_PATH, HTTP_PATH);
pattern!(PERCENTAGE, PERCENT);
pattern!(CONDITION_REASON, REASON);

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn shape(what: &str, examples: &[&str], pattern: &str) -> String {
    let quoted: Vec<String> = examples.iter().map(|example| format!("'{example}'")).collect();
    if quoted.is_empty() {
        return format!("{what} (regex used for validation is '{pattern}')");
    }
    let examples = quoted.join(",  or ");
    format!("{what} (e.g. {examples}, regex used for validation is '{pattern}')")
}

/// A lowercase RFC 1123 label: namespaces, container names, ...
#[must_use]
pub fn dns1123_label(value: &str) -> Option<String> {
    if value.len() > LABEL_MAX {
        return Some(too_long(LABEL_MAX));
    }
    if LABEL_1123.is_match(value) {
        return None;
    }
    if SUBDOMAIN_1123.is_match(value) {
        return Some("must not contain dots".to_owned());
    }
    Some(shape(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
         and must start and end with an alphanumeric character",
        &["my-name", "123-abc"],
        DNS1123_LABEL,
    ))
}

/// A lowercase RFC 1123 subdomain: most object names.
#[must_use]
pub fn dns1123_subdomain(value: &str) -> Option<String> {
    if value.len() > SUBDOMAIN_MAX {
        return Some(too_long(SUBDOMAIN_MAX));
    }
    if SUBDOMAIN_1123.is_match(value) {
        return None;
    }
    Some(shape(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
         or '.', and must start and end with an alphanumeric character",
        &["example.com"],
        DNS1123_SUBDOMAIN,
    ))
}

/// A subdomain below a wildcard: `*.example.com`.
#[must_use]
pub fn wildcard_subdomain(value: &str) -> Option<String> {
    if value.len() > SUBDOMAIN_MAX {
        return Some(too_long(SUBDOMAIN_MAX));
    }
    (!WILDCARD_NAME.is_match(value)).then(|| {
        shape(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS \
             subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and \
             end with an alphanumeric character",
            &["*.example.com"],
            WILDCARD,
        )
    })
}

/// An identifier as in C.
#[must_use]
pub fn c_identifier(value: &str) -> Option<String> {
    (!IDENTIFIER.is_match(value)).then(|| {
        shape(
            "a valid C identifier must start with alphabetic character or '_', followed by a \
             string of alphanumeric characters or '_'",
            &["my_name", "MY_NAME", "MyName"],
            C_IDENTIFIER,
        )
    })
}

/// The path of a domain-prefixed path.
#[must_use]
pub fn http_path(value: &str) -> Option<String> {
    (!URL_PATH.is_match(value)).then(|| shape("Invalid path", &[], HTTP_PATH))
}

/// A percentage: `25%`.
#[must_use]
pub fn percentage(value: &str) -> Option<String> {
    (!PERCENTAGE.is_match(value)).then(|| {
        shape(
            "a valid percent string must be a numeric string followed by an ending '%'",
            &["1%", "93%"],
            PERCENT,
        )
    })
}

/// An RFC 1035 label: older name rule, of ports in services' names and such.
#[must_use]
pub fn dns1035_label(value: &str) -> Option<String> {
    if value.len() > LABEL_MAX {
        return Some(too_long(LABEL_MAX));
    }
    if LABEL_1035.is_match(value) {
        return None;
    }
    Some(shape(
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with \
         an alphabetic character, and end with an alphanumeric character",
        &["my-name", "abc-123"],
        DNS1035_LABEL,
    ))
}

/// A name that is one path segment: roles and role bindings.
#[must_use]
pub fn path_segment(value: &str) -> Option<String> {
    if value == "." || value == ".." {
        return Some(format!("may not be '{value}'"));
    }
    ["/", "%"]
        .into_iter()
        .find(|part| value.contains(part))
        .map(|part| format!("may not contain '{part}'"))
}

/// The key of a label, annotation or taint: `[prefix/]name`.
#[must_use]
pub fn label_key(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '/');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if third.is_some() {
        return Some(
            shape(
                "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and \
                 must start and end with an alphanumeric character",
                &["MyName", "my.name", "123-abc"],
                QUALIFIED,
            ) + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        );
    }
    let name = match second {
        None => first,
        Some(_) if first.is_empty() => return Some("prefix part must be non-empty".to_owned()),
        Some(name) => {
            if let Some(problem) = dns1123_subdomain(first) {
                return Some(format!("prefix part {problem}"));
            }
            name
        }
    };
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > LABEL_MAX {
        return Some(format!("name part {}", too_long(LABEL_MAX)));
    }
    (!QUALIFIED_NAME.is_match(name)).then(|| {
        shape(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start \
             and end with an alphanumeric character",
            &["MyName", "my.name", "123-abc"],
            QUALIFIED,
        )
    })
}

/// The reason of a condition.
#[must_use]
pub fn condition_reason(value: &str) -> Option<String> {
    (!CONDITION_REASON.is_match(value)).then(|| {
        shape(
            "a condition reason must start with alphabetic character, optionally followed by a \
             string of alphanumeric characters or '_,:', and must end with an alphanumeric \
             character or '_'",
            &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
            REASON,
        )
    })
}

/// The value of a label.
#[must_use]
pub fn label_value(value: &str) -> Option<String> {
    if value.len() > LABEL_MAX {
        return Some(too_long(LABEL_MAX));
    }
    (!VALUE.is_match(value)).then(|| {
        shape(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', \
             '_' or '.', and must start and end with an alphanumeric character",
            &["MyValue", "my_value", "12345"],
            LABEL_VALUE,
        )
    })
}

/// A key in a config map or secret.
#[must_use]
pub fn config_key(value: &str) -> Option<String> {
    if value.len() > SUBDOMAIN_MAX {
        return Some(too_long(SUBDOMAIN_MAX));
    }
    if !KEY.is_match(value) {
        return Some(shape(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            &["key.name", "KEY_NAME", "key-name"],
            CONFIG_KEY,
        ));
    }
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// The name of an environment variable.
#[must_use]
pub fn env_name(value: &str) -> Option<String> {
    let fits = !value.is_empty() && value.bytes().all(|b| (32..127).contains(&b) && b != b'=');
    (!fits).then(|| {
        "a valid environment variable name must consist only of printable ASCII characters other \
         than '='"
            .to_owned()
    })
}

/// The name of a container's or service's port that is text (`IANA_SVC_NAME`).
#[must_use]
pub fn port_name(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > 15 {
        problems.push(too_long(15));
    }
    if !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        problems.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        type Check = fn(&str) -> Option<String>;
        for (check, value, expected) in [
            (dns1123_label as Check, "my-name", ""),
            (dns1123_label, "a.b", "must not contain dots"),
            (
                dns1123_label,
                "A",
                "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ),
            (dns1123_subdomain, "a.b-c", ""),
            (dns1123_subdomain, "_", "(e.g. 'example.com', regex used"),
            (dns1035_label, "1a", "a DNS-1035 label must"),
            (path_segment, "system:node", ""),
            (path_segment, "a/b", "may not contain '/'"),
            (label_key, "app.kubernetes.io/name", ""),
            (label_key, "/x", "prefix part must be non-empty"),
            (label_key, "a b", "name part must consist of"),
            (label_key, "a/b/c", "with an optional DNS subdomain prefix"),
            (label_value, "", ""),
            (label_value, "a b", "a valid label must be an empty string"),
            (config_key, "a.b", ""),
            (config_key, "a/b", "a valid config key"),
            (env_name, "A=B", "printable ASCII"),
            (wildcard_subdomain, "*.a.b", ""),
            (wildcard_subdomain, "a.*.b", "must start with '*.'"),
            (c_identifier, "_a1", ""),
            (c_identifier, "1a", "'my_name',  or 'MY_NAME',  or 'MyName', regex"),
            (http_path, "a/b", ""),
            (http_path, "a b", "Invalid path (regex used for validation is '[A-Z"),
            (percentage, "25%", ""),
            (percentage, "25", "(e.g. '1%',  or '93%', regex used"),
        ] {
            let found = check(value).unwrap_or_default();
            assert!(
                found.contains(expected) && found.is_empty() == expected.is_empty(),
                "{value}: {found}"
            );
        }
        assert_eq!(port_name("http"), Vec::<String>::new());
        assert_eq!(port_name("-80").len(), 2);
    }
}
