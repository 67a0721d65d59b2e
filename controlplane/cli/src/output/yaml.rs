//! YAML byte for byte as kubectl prints it: keys sorted, sequences not indented, scalars quoted and folded by the rules
//! of go-yaml v2 (`encode.go` for what is ambiguous, `emitterc.go` for what each style allows).

mod scalar;

use serde_json::{Map, Value};

use self::scalar::Style;

/// The column behind which a scalar goes on in the next line.
const WIDTH: usize = 80;

/// The object as a YAML document.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => writer.mapping(&sorted_entries(map), 0, true),
        Value::Array(items) if !items.is_empty() => writer.sequence(items, 0, true),
        scalar => {
            writer.inline(scalar, 0);
            writer.end_line();
        }
    }
    writer.out
}

/// The same value with keys in order, whatever order the map type keeps.
#[must_use]
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            sorted_entries(map)
                .into_iter()
                .map(|(key, value)| (key.to_owned(), sorted(value)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        scalar => scalar.clone(),
    }
}

fn sorted_entries(map: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

struct Writer {
    out: String,
    column: usize,
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn end_line(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column += indent;
    }

    /// `first_here`: the first entry stands where the line already is (behind `- `).
    fn mapping(&mut self, entries: &[(&str, &Value)], indent: usize, first_here: bool) {
        for (position, (key, value)) in entries.iter().enumerate() {
            if position > 0 || !first_here {
                self.indent(indent);
            }
            self.scalar(key, indent, true);
            self.text(":");
            match value {
                Value::Object(map) if !map.is_empty() => {
                    self.end_line();
                    self.mapping(&sorted_entries(map), indent + 2, false);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.end_line();
                    self.sequence(items, indent, false);
                }
                scalar => {
                    self.text(" ");
                    self.inline(scalar, indent);
                    self.end_line();
                }
            }
        }
    }

    fn sequence(&mut self, items: &[Value], indent: usize, first_here: bool) {
        for (position, item) in items.iter().enumerate() {
            if position > 0 || !first_here {
                self.indent(indent);
            }
            self.text("- ");
            match item {
                Value::Object(map) if !map.is_empty() => {
                    self.mapping(&sorted_entries(map), indent + 2, true);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.sequence(items, indent + 2, true);
                }
                scalar => {
                    self.inline(scalar, indent);
                    self.end_line();
                }
            }
        }
    }

    /// A value that needs no lines of its own to begin with.
    fn inline(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.text("null"),
            Value::Object(_) => self.text("{}"),
            Value::Array(_) => self.text("[]"),
            Value::String(text) => self.scalar(text, indent, false),
            other => self.text(&other.to_string()),
        }
    }

    fn scalar(&mut self, text: &str, indent: usize, is_key: bool) {
        match scalar::style(text, is_key) {
            Style::Plain => self.folded(text, indent, is_key, |c| c.to_string()),
            Style::Single => {
                self.text("'");
                self.single(text, indent, is_key);
                self.text("'");
            }
            Style::Double => {
                self.text("\"");
                self.double(text, indent, is_key);
                self.text("\"");
            }
            Style::Literal => self.literal(text, indent),
        }
    }

    /// Copies text; a single space behind the width becomes a line break.
    fn folded(&mut self, text: &str, indent: usize, is_key: bool, show: impl Fn(char) -> String) {
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (position, &c) in chars.iter().enumerate() {
            let next_is_space = chars.get(position + 1) == Some(&' ');
            let breaks =
                c == ' ' && !is_key && !after_space && self.column > WIDTH && !next_is_space;
            if breaks {
                self.end_line();
                self.indent(indent + 2);
            } else {
                self.text(&show(c));
            }
            after_space = c == ' ';
        }
    }

    fn single(&mut self, text: &str, indent: usize, is_key: bool) {
        let chars: Vec<char> = text.chars().collect();
        let last = chars.len().saturating_sub(1);
        let mut after_space = false;
        for (position, &c) in chars.iter().enumerate() {
            let inside = position > 0 && position < last;
            let next_is_space = chars.get(position + 1) == Some(&' ');
            let breaks = c == ' '
                && !is_key
                && !after_space
                && self.column > WIDTH
                && inside
                && !next_is_space;
            if breaks {
                self.end_line();
                self.indent(indent + 2);
            } else if c == '\'' {
                self.text("''");
            } else {
                self.text(c.encode_utf8(&mut [0; 4]));
            }
            after_space = c == ' ';
        }
    }

    fn double(&mut self, text: &str, indent: usize, is_key: bool) {
        let chars: Vec<char> = text.chars().collect();
        let last = chars.len().saturating_sub(1);
        let mut after_space = false;
        for (position, &c) in chars.iter().enumerate() {
            let inside = position > 0 && position < last;
            if c == ' ' && !is_key && !after_space && self.column > WIDTH && inside {
                self.end_line();
                self.indent(indent + 2);
                if chars.get(position + 1) == Some(&' ') {
                    self.text("\\");
                }
                after_space = true;
                continue;
            }
            self.text(&scalar::escape(c));
            after_space = c == ' ';
        }
    }

    fn literal(&mut self, text: &str, indent: usize) {
        let hint = if text.starts_with([' ', '\n']) { "2" } else { "" };
        let chomp = match (text.ends_with('\n'), text.ends_with("\n\n") || text == "\n") {
            (false, _) => "-",
            (true, false) => "",
            (true, true) => "+",
        };
        self.text(&format!("|{hint}{chomp}"));
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            self.end_line();
            if !line.is_empty() {
                self.indent(indent + 2);
                self.text(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn structure_looks_like_kubectls() {
        let value = json!({
            "b": [{"y": 1, "x": "true"}, "z", ["p", {"q": null}], []],
            "a": {"k": "1"}, "c": [], "d": {}, "e": "line\nline\n", "f": 1.5,
        });
        let text = "\
a:
  k: \"1\"
b:
- x: \"true\"
  \"y\": 1
- z
- - p
  - q: null
- []
c: []
d: {}
e: |
  line
  line
f: 1.5
";
        assert_eq!(to_yaml(&value), text);
        assert_eq!(to_yaml(&json!("x")), "x\n");
    }

    #[test]
    fn every_scalar_comes_back() {
        let texts = [
            "",
            "a",
            " a",
            "a ",
            "a: b",
            "a:",
            "- a",
            "#a",
            "a #b",
            "1",
            "1e3",
            "0x1f",
            "on",
            "~",
            "2026-01-02",
            "a\nb",
            "a\n",
            "a\n\n",
            "\na",
            "  a\nb",
            "a \nb",
            "tab\tin",
            "quote's",
            "double\"s",
            "back\\slash",
            "{a}",
            "[x",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "---",
            "...",
            "ünïcode",
            "emoji 🚢",
            "\u{7f}",
            "\u{feff}",
            "?",
            "? a",
            "-",
            "=",
            "<<",
            "12:30:45",
        ];
        for text in texts {
            let value = json!({"k": text, "list": [text], text: 1});
            let back: Value = serde_yaml_ng::from_str(&to_yaml(&value)).unwrap();
            assert_eq!(back, value, "{text:?} as\n{}", to_yaml(&value));
        }
    }

    #[test]
    fn long_texts_are_folded() {
        let long = "word ".repeat(30);
        for text in [
            long.trim_end().to_owned(),
            format!("colon: {}", long.trim_end()),
            format!("tab\t{}", long.trim_end()),
        ] {
            let value = json!({ "message": text });
            let yaml = to_yaml(&value);
            assert!(yaml.lines().count() > 1 && yaml.lines().all(|line| line.len() < 90), "{yaml}");
            assert!(yaml.lines().skip(1).all(|line| line.starts_with("  ")), "{yaml}");
            assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml).unwrap(), value);
        }
    }
}
