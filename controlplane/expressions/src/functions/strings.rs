//! The strings extension (cel-go `ext/strings.go`, version 2). Places are counted in characters.

use super::{Cost, Row, items, number, text, whole};
use crate::{eval::Outcome, program::EvalError, value::Value};

pub(super) const ROWS: &[Row] = &[
    ("charAt", &["string.(int)->string"], char_at, Cost::Walk),
    (
        "indexOf",
        &["string.(string)->int", "string.(string, int)->int", "list<A>.(A)->int"],
        index_of,
        Cost::Match,
    ),
    (
        "lastIndexOf",
        &["string.(string)->int", "string.(string, int)->int", "list<A>.(A)->int"],
        last_index_of,
        Cost::Match,
    ),
    (
        "lowerAscii",
        &["string.()->string"],
        |args| Ok(Value::text(text(args, 0)?.to_ascii_lowercase())),
        Cost::Walk,
    ),
    (
        "upperAscii",
        &["string.()->string"],
        |args| Ok(Value::text(text(args, 0)?.to_ascii_uppercase())),
        Cost::Walk,
    ),
    (
        "replace",
        &["string.(string, string)->string", "string.(string, string, int)->string"],
        replace,
        Cost::Walk,
    ),
    (
        "split",
        &["string.(string)->list<string>", "string.(string, int)->list<string>"],
        split,
        Cost::Walk,
    ),
    ("join", &["list<string>.()->string", "list<string>.(string)->string"], join, Cost::Walk),
    ("substring", &["string.(int)->string", "string.(int, int)->string"], substring, Cost::Walk),
    ("trim", &["string.()->string"], |args| Ok(Value::text(text(args, 0)?.trim())), Cost::Walk),
    ("reverse", &["string.()->string", "list<A>.()->list<A>"], reverse, Cost::Walk),
    (
        "strings.quote",
        &["(string)->string"],
        |args| Ok(Value::text(quote(text(args, 0)?))),
        Cost::Walk,
    ),
    ("format", &["string.(list<dyn>)->string"], format, Cost::Walk),
    ("jsonpatch.escapeKey", &["(string)->string"], escape_key, Cost::Walk),
];

fn range(index: i64) -> EvalError {
    EvalError::failed(format!("index out of range: {index}"))
}

fn char_at(arguments: &[Value]) -> Outcome {
    let (text, index) = (text(arguments, 0)?, whole(arguments, 1)?);
    let place = usize::try_from(index).map_err(|_| range(index))?;
    match text.chars().nth(place) {
        Some(letter) => Ok(Value::text(letter.to_string())),
        None if place == text.chars().count() => Ok(Value::text("")),
        None => Err(range(index)),
    }
}

/// The characters to search, and where to start from.
fn search(arguments: &[Value]) -> Result<(Vec<char>, Vec<char>, Option<i64>), EvalError> {
    let letters = |index| Ok(text(arguments, index)?.chars().collect::<Vec<char>>());
    let from = if arguments.len() > 2 { Some(whole(arguments, 2)?) } else { None };
    Ok((letters(0)?, letters(1)?, from))
}

fn index_of(arguments: &[Value]) -> Outcome {
    if let Value::List(list) = &arguments[0] {
        let found = list.items.iter().position(|item| *item == arguments[1]);
        return Ok(found.map_or(Value::Int(-1), number));
    }
    let (text, wanted, from) = search(arguments)?;
    let start = from.unwrap_or(0);
    let start = usize::try_from(start)
        .ok()
        .filter(|start| *start <= text.len())
        .ok_or_else(|| range(start))?;
    let last = (text.len() + 1).saturating_sub(wanted.len());
    let found = (start..last).find(|place| text[*place..].starts_with(&wanted));
    Ok(found.map_or(Value::Int(-1), number))
}

fn last_index_of(arguments: &[Value]) -> Outcome {
    if let Value::List(list) = &arguments[0] {
        let found = list.items.iter().rposition(|item| *item == arguments[1]);
        return Ok(found.map_or(Value::Int(-1), number));
    }
    let (text, wanted, from) = search(arguments)?;
    let end = match from {
        None => text.len(),
        Some(from) => usize::try_from(from)
            .ok()
            .filter(|end| *end <= text.len())
            .ok_or_else(|| range(from))?,
    };
    let last = (text.len() + 1).saturating_sub(wanted.len()).min(end + 1);
    let found = (0..last).rev().find(|place| text[*place..].starts_with(&wanted));
    Ok(found.map_or(Value::Int(-1), number))
}

fn replace(arguments: &[Value]) -> Outcome {
    let (subject, old, new) = (text(arguments, 0)?, text(arguments, 1)?, text(arguments, 2)?);
    if arguments.len() < 4 {
        return Ok(Value::text(subject.replace(old, new)));
    }
    Ok(match usize::try_from(whole(arguments, 3)?) {
        Ok(count) => Value::text(subject.replacen(old, new, count)),
        Err(_) => Value::text(subject.replace(old, new)),
    })
}

fn split(arguments: &[Value]) -> Outcome {
    let (subject, separator) = (text(arguments, 0)?, text(arguments, 1)?);
    let count = if arguments.len() > 2 { whole(arguments, 2)? } else { -1 };
    let letters = || subject.chars().map(String::from).collect::<Vec<_>>();
    let parts: Vec<String> = match (usize::try_from(count), separator.is_empty()) {
        (Ok(0), _) => Vec::new(),
        (Ok(count), false) => subject.splitn(count, separator).map(str::to_owned).collect(),
        (Err(_), false) => subject.split(separator).map(str::to_owned).collect(),
        (Err(_), true) => letters(),
        (Ok(count), true) => {
            let mut letters = letters();
            if letters.len() > count {
                let rest = letters.split_off(count - 1).concat();
                letters.push(rest);
            }
            letters
        }
    };
    Ok(Value::list(parts.into_iter().map(Value::text).collect()))
}

fn join(arguments: &[Value]) -> Outcome {
    let separator = if arguments.len() > 1 { text(arguments, 1)? } else { "" };
    let parts =
        items(arguments, 0)?.iter().map(|item| item.as_text().ok_or_else(EvalError::no_overload));
    Ok(Value::text(parts.collect::<Result<Vec<_>, _>>()?.join(separator)))
}

fn substring(arguments: &[Value]) -> Outcome {
    let letters: Vec<char> = text(arguments, 0)?.chars().collect();
    let start = whole(arguments, 1)?;
    let end = if arguments.len() > 2 {
        whole(arguments, 2)?
    } else {
        i64::try_from(letters.len()).unwrap_or(i64::MAX)
    };
    let place = |index: i64| {
        usize::try_from(index)
            .ok()
            .filter(|place| *place <= letters.len())
            .ok_or_else(|| range(index))
    };
    let (from, to) = (place(start)?, place(end)?);
    if from > to {
        return Err(EvalError::failed(format!(
            "invalid substring range. start: {start}, end: {end}"
        )));
    }
    Ok(Value::text(letters[from..to].iter().collect::<String>()))
}

fn reverse(arguments: &[Value]) -> Outcome {
    match &arguments[0] {
        Value::List(list) => Ok(Value::list(list.items.iter().rev().cloned().collect())),
        _ => Ok(Value::text(text(arguments, 0)?.chars().rev().collect::<String>())),
    }
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn escape_key(arguments: &[Value]) -> Outcome {
    Ok(Value::text(text(arguments, 0)?.replace('~', "~0").replace('/', "~1")))
}

/// `%s %d %f %e %b %x %X %o`, with a precision for the two in the middle.
fn format(arguments: &[Value]) -> Outcome {
    let values = items(arguments, 1)?;
    let mut values = values.iter();
    let mut made = String::new();
    let mut letters = text(arguments, 0)?.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            made.push(letter);
            continue;
        }
        if letters.next_if_eq(&'%').is_some() {
            made.push('%');
            continue;
        }
        let mut precision = None;
        if letters.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok().filter(|places| *places <= 1000);
        }
        let verb = letters.next().ok_or_else(|| EvalError::failed("unexpected end of string"))?;
        let value = values.next().ok_or_else(|| EvalError::failed("index 0 out of range"))?;
        made.push_str(&formatted(value, verb, precision.unwrap_or(6))?);
    }
    Ok(Value::text(made))
}

fn formatted(value: &Value, verb: char, precision: usize) -> Result<String, EvalError> {
    let bad = || {
        let shown = value.type_name();
        EvalError::failed(format!(
            "error during formatting: %{verb} does not take a value of type {shown}"
        ))
    };
    Ok(match (verb, value) {
        ('s', value) => plain(value),
        ('d', Value::Int(_) | Value::Uint(_) | Value::Double(_)) => plain(value),
        ('f', Value::Double(number)) => format!("{number:.precision$}"),
        ('f', Value::Int(number)) => format!("{number}.{}", "0".repeat(precision)),
        ('e', Value::Double(number)) => exponent(*number, precision),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('b', Value::Int(number)) => signed(*number, |size| format!("{size:b}")),
        ('b', Value::Uint(number)) => format!("{number:b}"),
        ('o', Value::Int(number)) => signed(*number, |size| format!("{size:o}")),
        ('o', Value::Uint(number)) => format!("{number:o}"),
        ('x' | 'X', value) => {
            let hex = match value {
                Value::Int(number) => signed(*number, |size| format!("{size:x}")),
                Value::Uint(number) => format!("{number:x}"),
                Value::String(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                _ => return Err(bad()),
            };
            if verb == 'X' { hex.to_uppercase() } else { hex }
        }
        ('d' | 'f' | 'e' | 'b' | 'o', _) => return Err(bad()),
        _ => return Err(EvalError::failed(format!("unrecognized formatting clause \"{verb}\""))),
    })
}

fn signed(number: i64, write: impl Fn(u64) -> String) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", write(number.unsigned_abs()))
}

fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let Some((digits, power)) = text.split_once('e') else { return text };
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>2}")
}

/// A value as `%s` shows it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) | Value::Type(text) => text.to_string(),
        Value::List(list) => {
            let parts: Vec<String> = list.items.iter().map(plain).collect();
            format!("[{}]", parts.join(", "))
        }
        Value::Map(map) => {
            let entries = map.entries.iter();
            let parts: Vec<String> = entries
                .map(|(key, value)| {
                    format!("{}: {}", crate::operators::key_text(key), plain(value))
                })
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        other => match other.to_json() {
            serde_json::Value::String(text) => text,
            json => json.to_string(),
        },
    }
}
