//! kubectl's JSONPath templates: text with `{expressions}`, `{range}…{end}`, filters, slices and unions.

pub(crate) mod evaluate;
mod parse;

use anyhow::{Result, bail};
use serde_json::Value;

use self::parse::Node;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Parses a template; without braces the whole is one expression.
    ///
    /// # Errors
    /// When a brace or bracket is not closed or an expression is unknown.
    pub fn parse(text: &str) -> Result<Self> {
        let relaxed = !text.contains('{');
        let text = if relaxed { format!("{{{text}}}") } else { text.to_owned() };
        Ok(Self { nodes: parse::template(&text)? })
    }

    /// The template's text for a value; results of one expression are separated by spaces.
    ///
    /// # Errors
    /// When the template names what is not there.
    pub fn render(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        evaluate::render(&self.nodes, value, value, &mut out)?;
        Ok(out)
    }

    /// All results as one JSON array.
    ///
    /// # Errors
    /// When the template names what is not there.
    pub fn render_json(&self, value: &Value) -> Result<String> {
        let found: Vec<_> = self.find(value)?.into_iter().cloned().collect();
        Ok(super::to_json(&Value::Array(found)))
    }

    /// The results of a template that is one expression; nothing where a field is missing.
    ///
    /// # Errors
    /// When the template is more than one expression.
    pub fn find<'a>(&self, value: &'a Value) -> Result<Vec<&'a Value>> {
        match self.nodes.as_slice() {
            [Node::Expression(path)] => Ok(evaluate::find(path, value, value)),
            _ => bail!("expected one expression"),
        }
    }
}

/// A result as text: strings bare, the rest as JSON.
#[must_use]
pub fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> String {
        let value = json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"app.io/x": "1"}}, "n": 1,
                 "conditions": [{"type": "Ready", "status": "True"}, {"type": "Up", "status": "False"}]},
                {"metadata": {"name": "b"}, "n": 5, "conditions": [{"type": "Ready", "status": "False"}]},
                {"metadata": {"name": "c"}, "n": 9},
            ],
        });
        match Template::parse(template).and_then(|template| template.render(&value)) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn templates_render_as_kubectls() {
        for (template, expected) in [
            ("{.kind}", "List"),
            (".kind", "List"),
            ("{$.kind}", "List"),
            ("kind is {.kind}!", "kind is List!"),
            ("{.items[*].metadata.name}", "a b c"),
            ("{.items[0].metadata.name}", "a"),
            ("{.items[-1:].metadata.name}", "c"),
            ("{.items[-1].metadata.name}", "c"),
            ("{.items[0:2].metadata.name}", "a b"),
            ("{.items[::2].metadata.name}", "a c"),
            ("{.items[0,2].metadata.name}", "a c"),
            ("{..name}", "a b c"),
            ("{.items[0].metadata.labels.app\\.io/x}", "1"),
            ("{.items[0].metadata.labels['app\\.io/x']}", "1"),
            ("{.items[0]['n', 'metadata'].name}", "a"),
            ("{.items[?(@.n>1)].metadata.name}", "b c"),
            ("{.items[?(@.metadata.name==\"b\")].n}", "5"),
            ("{.items[?(@.metadata.name!='b')].n}", "1 9"),
            ("{.items[?(@.conditions)].metadata.name}", "a b"),
            ("{.items[*].conditions[?(@.type=='Ready')].status}", "True False"),
            (r#"{range .items[*]}{.metadata.name}{"\t"}{.n}{"\n"}{end}"#, "a\t1\nb\t5\nc\t9\n"),
            ("{range .items[*]}[{.metadata.name}, {.n}] {end}", "[a, 1] [b, 5] [c, 9] "),
            ("{range .items[*]}{range .conditions[*]}{.type};{end}{end}", "Ready;Up;Ready;"),
            ("{.items[0].metadata}", r#"{"labels":{"app.io/x":"1"},"name":"a"}"#),
            ("{.missing}", ""),
            ("{.items[7].n}", "error: array index out of bounds: index 7, length 3"),
            ("{.kind", "error: unclosed action"),
            ("{range .items[*]}", "error: not in range, nothing to end"),
            ("{end}", "error: not in range, nothing to end"),
        ] {
            assert_eq!(render(template), expected, "{template}");
        }
    }
}
