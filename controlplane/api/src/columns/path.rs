//! Printer columns of custom resources: the subset of JSONPath that `additionalPrinterColumns` use.

use serde_json::{Value, json};

use super::cells;

/// The value at a path, formed for its column type; null when there is none.
pub(super) fn cell(object: &Value, path: &str, kind: &str, now_unix: i64) -> Value {
    let found = find(object, path);
    let Some(value) = found.first() else { return Value::Null };
    match (kind, value) {
        ("date", Value::String(text)) => json!(cells::since(text, now_unix)),
        ("integer", Value::Number(number)) => {
            json!(number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or(0.0) as i64))
        }
        ("string", _) if found.len() > 1 => {
            json!(found.iter().map(|one| cells::any_text(one)).collect::<Vec<_>>().join(","))
        }
        ("string", Value::Object(_) | Value::Array(_) | Value::Number(_) | Value::Bool(_)) => {
            json!(value.to_string())
        }
        ("number" | "integer" | "boolean", Value::String(_)) => Value::Null,
        (_, value) => (*value).clone(),
    }
}

/// All values at a path: names, `['name']`, `[0]`, `[*]`, `[?(@.a=="b")]`.
pub(crate) fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut current = vec![object];
    for step in split(path) {
        current = current.into_iter().flat_map(|value| walk(value, &step)).collect();
    }
    current
}

#[derive(Debug, PartialEq)]
enum Step {
    Name(String),
    Index(i64),
    All,
    Where { path: String, equal: bool, value: String },
    Nothing,
}

fn split(path: &str) -> Vec<Step> {
    let trimmed = path.trim();
    let trimmed =
        trimmed.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(trimmed);
    let mut rest = trimmed.strip_prefix('$').unwrap_or(trimmed);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner);
            steps.push(bracket(&inner[..end]));
            rest = inner.get(end + 1..).unwrap_or_default();
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (name, after) = read_name(rest);
        if name == "*" {
            steps.push(Step::All);
        } else if !name.is_empty() {
            steps.push(Step::Name(name));
        } else if after.len() == rest.len() && !after.starts_with('[') {
            break;
        }
        rest = after;
    }
    steps
}

/// A name up to the next dot or bracket; a backslash escapes a dot.
fn read_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            _ => name.push(c),
        }
    }
    (name, "")
}

/// The position of the bracket that closes, outside quotes.
fn closing(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, ']') => return at,
            _ => {}
        }
    }
    text.len()
}

fn bracket(text: &str) -> Step {
    let text = text.trim();
    if text == "*" {
        return Step::All;
    }
    if let Ok(index) = text.parse() {
        return Step::Index(index);
    }
    if let Some(condition) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter(condition);
    }
    match unquote(text) {
        Some(name) => Step::Name(name),
        None => Step::Nothing,
    }
}

fn filter(condition: &str) -> Step {
    let parts = condition
        .split_once("==")
        .map(|parts| (parts, true))
        .or_else(|| condition.split_once("!=").map(|parts| (parts, false)));
    let Some(((left, right), equal)) = parts else { return Step::Nothing };
    let path = left.trim().strip_prefix('@').unwrap_or(left.trim()).to_owned();
    let right = right.trim();
    Step::Where { path, equal, value: unquote(right).unwrap_or_else(|| right.to_owned()) }
}

fn unquote(text: &str) -> Option<String> {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .map(|inner| inner.replace("\\.", "."))
}

fn walk<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Name(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Step::Index(index), Value::Array(items)) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if *index < 0 { index + length } else { *index };
            usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
        }
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Where { path, equal, value }, Value::Array(items)) => items
            .iter()
            .filter(|item| {
                find(item, path).first().is_some_and(|one| cells::any_text(one) == *value) == *equal
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_values() {
        let object = json!({"a": {"b": [{"t": "x", "v": 1}, {"t": "y", "v": 2}], "c.d/e": "z"}});
        for (path, expected) in [
            (".a.b[0].v", vec![json!(1)]),
            (".a.b[-1].v", vec![json!(2)]),
            (".a.b[*].v", vec![json!(1), json!(2)]),
            (".a.b[?(@.t==\"y\")].v", vec![json!(2)]),
            (".a.b[?(@.t=='x')].v", vec![json!(1)]),
            (".a['c.d/e']", vec![json!("z")]),
            (".a.c\\.d/e", vec![json!("z")]),
            ("{.a.b[1].t}", vec![json!("y")]),
            (".none.x", vec![]),
        ] {
            let found: Vec<Value> = find(&object, path).into_iter().cloned().collect();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn cells_follow_types() {
        let object = json!({"n": 3, "t": "1970-01-01T00:00:00Z", "s": ["a", "b"], "f": 2.5});
        assert_eq!(cell(&object, ".t", "date", 5), json!("5s"));
        assert_eq!(cell(&object, ".n", "string", 0), json!("3"));
        assert_eq!(cell(&object, ".f", "integer", 0), json!(2));
        assert_eq!(cell(&object, ".s[*]", "string", 0), json!("a,b"));
        assert_eq!(cell(&object, ".x", "string", 0), Value::Null);
    }
}
