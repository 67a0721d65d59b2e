//! From the template's text to its nodes.

use anyhow::{Result, bail};
use serde_json::Value;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Expression(Vec<Step>),
    Range { over: Vec<Step>, body: Vec<Node> },
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Root,
    Field(String),
    /// `..name`, or `..` alone for everything below.
    Descend(Option<String>),
    All,
    Index(i64),
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    Union(Vec<Step>),
    Filter(Filter),
}

/// `[?(left operator right)]`; without an operator the left side must exist.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    pub left: Operand,
    pub test: Option<(Operator, Operand)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// Starts at the item (`@`).
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

enum Action {
    Text(String),
    Expression(Vec<Step>),
    Range(Vec<Step>),
    End,
}

/// Parses a whole template.
pub(super) fn template(text: &str) -> Result<Vec<Node>> {
    let mut open: Vec<(Vec<Step>, Vec<Node>)> = Vec::new();
    let mut nodes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (action, after) = next_action(rest)?;
        rest = after;
        match action {
            Action::Text(text) => nodes.push(Node::Text(text)),
            Action::Expression(path) => nodes.push(Node::Expression(path)),
            Action::Range(over) => open.push((over, std::mem::take(&mut nodes))),
            Action::End => {
                let Some((over, outer)) = open.pop() else { bail!("not in range, nothing to end") };
                let body = std::mem::replace(&mut nodes, outer);
                nodes.push(Node::Range { over, body });
            }
        }
    }
    if !open.is_empty() {
        bail!("not in range, nothing to end");
    }
    Ok(nodes)
}

fn next_action(text: &str) -> Result<(Action, &str)> {
    let Some(inside) = text.strip_prefix('{') else {
        let end = text.find('{').unwrap_or(text.len());
        return Ok((Action::Text(text[..end].to_owned()), &text[end..]));
    };
    let Some(end) = closing(inside, '}') else { bail!("unclosed action") };
    let (body, rest) = (inside[..end].trim(), &inside[end + 1..]);
    let action = if body == "end" {
        Action::End
    } else if let Some(over) = body.strip_prefix("range ") {
        Action::Range(path(over.trim())?)
    } else if body.starts_with('"') || body.starts_with('\'') {
        Action::Text(quoted(body)?)
    } else {
        Action::Expression(path(body)?)
    };
    Ok((action, rest))
}

/// The position of the closing character, outside quotes.
fn closing(text: &str, close: char) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (position, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if c == close => return Some(position),
            (None, _) => {}
        }
    }
    None
}

/// Text in quotes with Go's common escapes.
fn quoted(text: &str) -> Result<String> {
    let quote = text.chars().next().unwrap_or('"');
    let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) else {
        bail!("unterminated quoted string");
    };
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => bail!("unterminated quoted string"),
            },
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Parses one path: `.a.b[0]`, `$..x`, `a.b`.
pub(super) fn path(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('$') {
            steps.push(Step::Root);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('@') {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("..") {
            let (name, after) = field(after);
            steps.push(Step::Descend((!name.is_empty()).then_some(name)));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some(end) = bracket_end(after) else { bail!("unterminated array") };
            steps.push(bracket(after[..end].trim())?);
            rest = &after[end + 1..];
        } else {
            let (name, after) = field(rest.strip_prefix('.').unwrap_or(rest));
            match name.as_str() {
                "" if after.len() == rest.len() => {
                    bail!("unrecognized character in action: {rest}")
                }
                "" => {}
                "*" => steps.push(Step::All),
                _ => steps.push(Step::Field(name)),
            }
            rest = after;
        }
    }
    Ok(steps)
}

/// A field's name, up to the next dot or bracket that is not escaped.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((position, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' | ' ' => return (name, &text[position..]),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where a bracket closes: brackets nest inside filters, quotes hide them.
fn bracket_end(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quote = None;
    for (position, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(position),
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn bracket(text: &str) -> Result<Step> {
    if let Some(condition) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        return Ok(Step::Filter(filter(condition.trim())?));
    }
    let parts = split_outside_quotes(text, ',');
    if parts.len() > 1 {
        return Ok(Step::Union(
            parts.into_iter().map(|part| bracket(part.trim())).collect::<Result<_>>()?,
        ));
    }
    if text == "*" || text.is_empty() {
        return Ok(Step::All);
    }
    if text.starts_with(['"', '\'']) {
        return Ok(Step::Field(quoted(text)?));
    }
    if text.contains(':') {
        return slice(text);
    }
    match text.parse() {
        Ok(index) => Ok(Step::Index(index)),
        Err(_) => bail!("invalid array index {text}"),
    }
}

fn slice(text: &str) -> Result<Step> {
    let mut numbers = text.split(':').map(|part| match part.trim() {
        "" => Ok(None),
        number => number.parse::<i64>().map(Some),
    });
    let mut next = || numbers.next().transpose().map(Option::flatten);
    let (Ok(start), Ok(end), Ok(step)) = (next(), next(), next()) else {
        bail!("invalid array index {text}");
    };
    let step = step.unwrap_or(1);
    if step <= 0 {
        bail!("step must be > 0");
    }
    Ok(Step::Slice { start, end, step })
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    while let Some(end) = closing(&text[start..], separator) {
        parts.push(&text[start..start + end]);
        start += end + separator.len_utf8();
    }
    parts.push(&text[start..]);
    parts
}

const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

fn filter(text: &str) -> Result<Filter> {
    let first = |(symbol, operator): &(&'static str, Operator)| {
        let position = closing(text, symbol.chars().next()?)?;
        text[position..].starts_with(symbol).then_some((position, *symbol, *operator))
    };
    let Some((position, symbol, operator)) = OPERATORS.iter().find_map(first) else {
        return Ok(Filter { left: operand(text)?, test: None });
    };
    let right = operand(text[position + symbol.len()..].trim())?;
    Ok(Filter { left: operand(text[..position].trim())?, test: Some((operator, right)) })
}

fn operand(text: &str) -> Result<Operand> {
    if text.starts_with(['"', '\'']) {
        return Ok(Operand::Literal(Value::String(quoted(text)?)));
    }
    if text.starts_with(['@', '$', '.']) {
        return Ok(Operand::Path(path(text)?));
    }
    match serde_json::from_str(text) {
        Ok(literal) => Ok(Operand::Literal(literal)),
        Err(_) => bail!("unrecognized operand in filter: {text}"),
    }
}
