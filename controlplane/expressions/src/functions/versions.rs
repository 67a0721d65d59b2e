//! Semantic versions (upstream `library/semver.go`).

use semver::Version;

use super::{Cost, Row, opaque, text};
use crate::{
    eval::Outcome,
    program::EvalError,
    value::{Opaque, Value},
};

pub(super) const ROWS: &[Row] = &[
    ("semver", &["(string)->semver", "(string, bool)->semver"], make, Cost::Walk),
    (
        "isSemver",
        &["(string)->bool", "(string, bool)->bool"],
        |args| Ok(Value::Bool(parse(args).is_ok())),
        Cost::Walk,
    ),
    ("major", &["semver.()->int"], |args| part(args, |version| version.major), Cost::One),
    ("minor", &["semver.()->int"], |args| part(args, |version| version.minor), Cost::One),
    ("patch", &["semver.()->int"], |args| part(args, |version| version.patch), Cost::One),
];

fn parse(arguments: &[Value]) -> Result<Version, EvalError> {
    let given = text(arguments, 0)?;
    let normal = match arguments.get(1) {
        Some(Value::Bool(true)) => normalized(given),
        _ => given.to_owned(),
    };
    Version::parse(&normal).map_err(|error| EvalError::failed(error.to_string()))
}

/// Without a leading `v` and zeros, and with the parts that are missing.
fn normalized(given: &str) -> String {
    let given = given.strip_prefix('v').unwrap_or(given);
    let end = given.find(['-', '+']).unwrap_or(given.len());
    let (core, rest) = given.split_at(end);
    let mut parts: Vec<String> = core.split('.').map(without_zeros).collect();
    while parts.len() < 3 {
        parts.push("0".to_owned());
    }
    format!("{}{rest}", parts.join("."))
}

fn without_zeros(part: &str) -> String {
    let short = part.trim_start_matches('0');
    if short.is_empty() && !part.is_empty() { "0".to_owned() } else { short.to_owned() }
}

fn make(arguments: &[Value]) -> Outcome {
    parse(arguments).map(|version| Value::opaque(Opaque::Semver(version)))
}

fn part(arguments: &[Value], of: impl Fn(&Version) -> u64) -> Outcome {
    match opaque(arguments, 0)? {
        Opaque::Semver(version) => Ok(Value::Int(i64::try_from(of(version)).unwrap_or(i64::MAX))),
        _ => Err(EvalError::no_overload()),
    }
}
