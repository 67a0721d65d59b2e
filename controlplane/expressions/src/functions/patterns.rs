//! Regular expressions (RE2's syntax is nearly the crate's), and URLs.

use regex::{Regex, RegexBuilder};
use url::Url;

use super::{Cost, Row, opaque, text, whole};
use crate::{
    eval::Outcome,
    program::EvalError,
    value::{Opaque, Value},
};

/// A pattern may compile to this many bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

pub(super) const ROWS: &[Row] = &[
    ("matches", &["string.(string)->bool", "(string, string)->bool"], matches, Cost::Match),
    ("find", &["string.(string)->string"], find, Cost::Match),
    (
        "findAll",
        &["string.(string)->list<string>", "string.(string, int)->list<string>"],
        find_all,
        Cost::Match,
    ),
    ("url", &["(string)->url"], make_url, Cost::Walk),
    (
        "isURL",
        &["(string)->bool"],
        |args| Ok(Value::Bool(parse_url(text(args, 0)?).is_some())),
        Cost::Walk,
    ),
    (
        "getScheme",
        &["url.()->string"],
        |args| url_text(args, |url| scheme(url).to_owned()),
        Cost::One,
    ),
    ("getHost", &["url.()->string"], |args| url_text(args, host), Cost::One),
    ("getHostname", &["url.()->string"], |args| url_text(args, hostname), Cost::One),
    ("getPort", &["url.()->string"], |args| url_text(args, port), Cost::One),
    ("getEscapedPath", &["url.()->string"], |args| url_text(args, path), Cost::One),
    ("getQuery", &["url.()->map<string, list<string>>"], query, Cost::Walk),
];

/// Compiles a pattern of bounded size.
pub(crate) fn pattern(text: &str) -> Result<Regex, EvalError> {
    let built = RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build();
    built.map_err(|error| {
        let last = error.to_string();
        let reason =
            last.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        EvalError::failed(format!("error parsing regexp: {reason}: `{text}`"))
    })
}

fn matches(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(pattern(text(arguments, 1)?)?.is_match(text(arguments, 0)?)))
}

fn find(arguments: &[Value]) -> Outcome {
    let found = pattern(text(arguments, 1)?)?;
    let found = found.find(text(arguments, 0)?);
    Ok(Value::text(found.map_or("", |found| found.as_str())))
}

fn find_all(arguments: &[Value]) -> Outcome {
    let pattern = pattern(text(arguments, 1)?)?;
    let most = if arguments.len() > 2 { whole(arguments, 2)? } else { -1 };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let found = pattern.find_iter(text(arguments, 0)?).take(most);
    Ok(Value::list(found.map(|found| Value::text(found.as_str())).collect()))
}

/// The host that stands in for none, since the crate knows only absolute URLs.
const NO_HOST: &str = "path-only.invalid";

/// Absolute URLs and absolute paths, as Go's `ParseRequestURI`.
fn parse_url(text: &str) -> Option<Url> {
    if text.contains(char::is_whitespace) {
        return None;
    }
    if text.starts_with('/') {
        return Url::parse(&format!("relative://{NO_HOST}{text}")).ok();
    }
    Url::parse(text).ok()
}

fn make_url(arguments: &[Value]) -> Outcome {
    let text = text(arguments, 0)?;
    let url = parse_url(text);
    let url = url.ok_or_else(|| EvalError::failed(format!("URL parse error during conversion from string: parse \"{text}\": invalid URI for request")))?;
    Ok(Value::opaque(Opaque::Url(url)))
}

fn url_text(arguments: &[Value], of: impl Fn(&Url) -> String) -> Outcome {
    match opaque(arguments, 0)? {
        Opaque::Url(url) => Ok(Value::text(of(url))),
        _ => Err(EvalError::no_overload()),
    }
}

fn scheme(url: &Url) -> &str {
    if url.scheme() == "relative" { "" } else { url.scheme() }
}

fn hostname(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    if name == NO_HOST {
        String::new()
    } else {
        name.trim_start_matches('[').trim_end_matches(']').to_owned()
    }
}

/// The crate drops a scheme's own port; Go keeps it.
fn port(url: &Url) -> String {
    url.port().map_or_else(String::new, |port| port.to_string())
}

fn host(url: &Url) -> String {
    if url.host_str() == Some(NO_HOST) {
        return String::new();
    }
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

fn path(url: &Url) -> String {
    url.path().to_owned()
}

fn query(arguments: &[Value]) -> Outcome {
    let Opaque::Url(url) = opaque(arguments, 0)? else { return Err(EvalError::no_overload()) };
    let mut entries: std::collections::BTreeMap<String, Vec<Value>> =
        std::collections::BTreeMap::new();
    for (name, value) in url.query_pairs() {
        entries.entry(name.into_owned()).or_default().push(Value::text(value));
    }
    let entries = entries
        .into_iter()
        .map(|(name, values)| (crate::Key::Text(name.into()), Value::list(values)));
    Ok(Value::Map(crate::Map { entries: entries.collect(), object: None }.into()))
}
