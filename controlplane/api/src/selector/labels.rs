//! Label selectors (`a=b,c!=d,e in (f,g),!h`), upstream `apimachinery/pkg/labels`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Reason, Status, rules::names};

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Sorted.
    pub values: Vec<String>,
}

/// A parsed label selector (`a=b,c!=d,e in (f,g),!h`): all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    requirements: Vec<Requirement>,
    /// Set for an absent `metav1.LabelSelector`.
    nothing: bool,
}

impl Labels {
    /// Parses the query-parameter form; 400 with upstream's text when it cannot.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut parser = Parser { tokens: lex(text), position: 0 };
        let requirements =
            parser.requirements().map_err(|text| Status::new(Reason::BadRequest, text))?;
        Ok(Self { requirements, nothing: false })
    }

    /// From `metav1.LabelSelector`; an absent (null) selector matches nothing, an empty one everything.
    pub fn from_selector(selector: &Value) -> Result<Self, Status> {
        if selector.is_null() {
            return Ok(Self { requirements: Vec::new(), nothing: true });
        }
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            requirements.push(Requirement { key: key.clone(), operator: Operator::In, values });
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            requirements.push(
                expression_requirement(expression)
                    .map_err(|text| Status::new(Reason::BadRequest, text))?,
            );
        }
        Ok(Self { requirements, nothing: false })
    }

    /// From a plain map of labels (`Service.spec.selector`, `ReplicationController.spec.selector`).
    #[must_use]
    pub fn from_map(map: &Value) -> Self {
        let requirements = map
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: vec![value.as_str().unwrap_or_default().to_owned()],
            })
            .collect();
        Self { requirements, nothing: false }
    }

    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        self.holds(|key| labels.get(key).copied())
    }

    /// Against `metadata.labels` of an object.
    #[must_use]
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches_labels(&object["metadata"]["labels"])
    }

    /// Against a JSON map of labels (null is an empty map).
    #[must_use]
    pub fn matches_labels(&self, labels: &Value) -> bool {
        self.holds(|key| labels.get(key).and_then(Value::as_str))
    }

    /// True when every object matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    fn holds<'a>(&self, look_up: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|one| one.holds(look_up(&one.key)))
    }
}

impl std::fmt::Display for Labels {
    /// The query-parameter form, requirements sorted by key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted: Vec<&Requirement> = self.requirements.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let texts: Vec<String> = sorted.into_iter().map(Requirement::to_text).collect();
        f.write_str(&texts.join(","))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|value| self.has(value)),
            Operator::NotIn => value.is_none_or(|value| !self.has(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compare(value, |label, bound| label > bound),
            Operator::LessThan => self.compare(value, |label, bound| label < bound),
        }
    }

    fn has(&self, value: &str) -> bool {
        self.values.iter().any(|one| one == value)
    }

    fn compare(&self, value: Option<&str>, ordered: fn(i64, i64) -> bool) -> bool {
        let bound = self.values.first().and_then(|text| text.parse().ok());
        let label = value.and_then(|text| text.parse().ok());
        label.zip(bound).is_some_and(|(label, bound)| ordered(label, bound))
    }

    fn to_text(&self) -> String {
        let key = &self.key;
        match self.operator {
            Operator::In if self.values.len() == 1 => format!("{key}={}", self.values[0]),
            Operator::NotIn if self.values.len() == 1 => format!("{key}!={}", self.values[0]),
            Operator::In => format!("{key} in ({})", self.values.join(",")),
            Operator::NotIn => format!("{key} notin ({})", self.values.join(",")),
            Operator::Exists => key.clone(),
            Operator::DoesNotExist => format!("!{key}"),
            Operator::GreaterThan => format!("{key}>{}", self.values.join(",")),
            Operator::LessThan => format!("{key}<{}", self.values.join(",")),
        }
    }

    fn check(self) -> Result<Self, String> {
        if let Some(problem) = names::label_key(&self.key) {
            return Err(format!("key: Invalid value: {:?}: {problem}", self.key));
        }
        if matches!(self.operator, Operator::GreaterThan | Operator::LessThan)
            && self.values.iter().any(|value| value.parse::<i64>().is_err())
        {
            return Err(format!(
                "values[0]: Invalid value: {:?}: for 'Gt', 'Lt' operators, the value must be an integer",
                self.values.first().cloned().unwrap_or_default()
            ));
        }
        for (index, value) in self.values.iter().enumerate() {
            if let Some(problem) = names::label_value(value) {
                return Err(format!(
                    "values[{index}][{}]: Invalid value: {value:?}: {problem}",
                    self.key
                ));
            }
        }
        Ok(self)
    }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, String> {
    let name = expression["operator"].as_str().unwrap_or_default();
    let operator = match name {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return Err(format!("{name:?} is not a valid label selector operator")),
    };
    let key = expression["key"].as_str().unwrap_or_default().to_owned();
    let mut values: Vec<String> = expression["values"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect();
    values.sort();
    if matches!(operator, Operator::In | Operator::NotIn) && values.is_empty() {
        return Err(
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                .to_owned(),
        );
    }
    Requirement { key, operator, values }.check()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(text) => text,
            Self::Symbol(text) => text,
            Self::End => "",
        }
    }
}

const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn lex(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = rest[symbol.len()..].trim_start();
            continue;
        }
        let end =
            rest.find(|c: char| c.is_whitespace() || "=!(),><".contains(c)).unwrap_or(rest.len());
        tokens.push(Token::Word(rest[..end].to_owned()));
        rest = rest[end..].trim_start();
    }
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

impl Parser {
    fn peek(&self) -> Token {
        self.tokens.get(self.position).cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut found = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(found),
                Token::Word(_) | Token::Symbol("!") => {}
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
            found.push(
                self.requirement()
                    .map_err(|problem| format!("unable to parse requirement: {problem}"))?,
            );
            match self.next() {
                Token::End => return Ok(found),
                Token::Symbol(",") => {}
                other => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    ));
                }
            }
            let after = self.peek();
            if !matches!(after, Token::Word(_) | Token::Symbol("!")) {
                return Err(format!("found '{}', expected: identifier after ','", after.text()));
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Token::Symbol("!");
        if absent {
            self.next();
        }
        let key = self.word()?;
        if absent || matches!(self.peek(), Token::End | Token::Symbol(",")) {
            let operator = if absent { Operator::DoesNotExist } else { Operator::Exists };
            return Requirement { key, operator, values: Vec::new() }.check();
        }
        let (operator, set) = self.operator()?;
        let mut values = if set { self.set()? } else { vec![self.value()?] };
        values.sort();
        values.dedup();
        Requirement { key, operator, values }.check()
    }

    fn operator(&mut self) -> Result<(Operator, bool), String> {
        let token = self.next();
        Ok(match token.text() {
            "in" => (Operator::In, true),
            "notin" => (Operator::NotIn, true),
            "=" | "==" => (Operator::In, false),
            "!=" => (Operator::NotIn, false),
            ">" => (Operator::GreaterThan, false),
            "<" => (Operator::LessThan, false),
            other => {
                return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        })
    }

    fn word(&mut self) -> Result<String, String> {
        match self.next() {
            Token::Word(text) => Ok(text),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            Token::End | Token::Symbol(",") => Ok(String::new()),
            _ => self.word(),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(text) => values.push(text),
                Token::Symbol(",") => {
                    values.push(String::new());
                    continue;
                }
                Token::Symbol(")") => {
                    values.push(String::new());
                    return Ok(values);
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', ')' or identifier",
                        other.text()
                    ));
                }
            }
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_match_labels() {
        let object = json!({"metadata": {"labels": {"a": "b", "n": "5", "in": "x"}}});
        for (text, expected) in [
            ("", true),
            ("a=b", true),
            ("a==b, n", true),
            ("a!=b", false),
            ("c!=d", true),
            ("a in (b, c)", true),
            ("a notin (b)", false),
            ("c notin (b)", true),
            ("!c,!d", true),
            ("!a", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("in=x", true),
            ("c=", false),
            ("a in (b,)", true),
        ] {
            let parsed = Labels::parse(text).unwrap();
            assert_eq!(parsed.matches_object(&object), expected, "{text}");
        }
    }

    #[test]
    fn bad_selectors_say_why() {
        for (text, problem) in [
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in b", "found 'b' expected: '('"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a>x", "for 'Gt', 'Lt' operators, the value must be an integer"),
            ("a b/c/d=e", "expected: in, notin"),
        ] {
            let status = Labels::parse(text).unwrap_err();
            assert!(status.message.contains(problem), "{text}: {}", status.message);
        }
    }

    #[test]
    fn label_selector_objects() {
        let labels = BTreeMap::from([("a", "b")]);
        let matches = |selector| Labels::from_selector(&selector).unwrap().matches(&labels);
        assert!(!matches(Value::Null));
        assert!(matches(json!({})));
        assert!(matches(json!({"matchLabels": {"a": "b"}})));
        assert!(!matches(
            json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]})
        ));
        assert!(
            Labels::from_selector(&json!({"matchExpressions": [{"key": "a", "operator": "x"}]}))
                .is_err()
        );
    }
}
