//! Lines of a description: indented, cells separated by tabs until the end.

use serde_json::Value;

use crate::{
    json::{entries_at, scalar},
    output::tabwriter,
};

/// A description in the making.
#[derive(Debug, Default)]
pub(crate) struct Text {
    lines: String,
    pub level: usize,
}

impl Text {
    /// One line at the present level.
    pub fn line(&mut self, text: &str) {
        for _ in 0..self.level {
            self.lines.push_str("  ");
        }
        self.lines.push_str(text);
        self.lines.push('\n');
    }

    /// `Label:` and a value.
    pub fn field(&mut self, label: &str, value: impl std::fmt::Display) {
        self.line(&format!("{label}:\t{value}"));
    }

    /// As [`Text::field`], unless the value is empty.
    pub fn field_if(&mut self, label: &str, value: &str) {
        if !value.is_empty() {
            self.field(label, value);
        }
    }

    /// Runs `inside` with one level more.
    pub fn nested(&mut self, inside: impl FnOnce(&mut Self)) {
        self.level += 1;
        inside(self);
        self.level -= 1;
    }

    /// A named entry (a container, a volume): its fields stand at the second level wherever it is, as kubectl has it.
    pub fn entry(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        let level = self.level;
        self.level = 0;
        self.line(&format!("{}{name}:", if level == 0 { "  " } else { "   " }));
        self.level = 2;
        inside(self);
        self.level = level;
    }

    /// A map: one entry per line, the first beside the label.
    pub fn map(&mut self, label: &str, object: &Value, pointer: &str, separator: &str) {
        let entries = entries_at(object, pointer).into_iter();
        let lines: Vec<_> =
            entries.map(|(key, value)| format!("{key}{separator}{}", scalar(value))).collect();
        self.list(label, &lines);
    }

    /// Several values: one per line, the first beside the label; `<none>` without any.
    pub fn list(&mut self, label: &str, values: &[String]) {
        let Some((first, rest)) = values.split_first() else {
            self.field(label, "<none>");
            return;
        };
        self.field(label, first);
        for value in rest {
            self.line(&format!("\t{value}"));
        }
    }

    /// Lines that are already formed.
    pub fn raw(&mut self, text: &str) {
        self.lines.push_str(text);
    }

    /// The whole, aligned.
    pub fn finish(self) -> String {
        tabwriter::align(&self.lines, tabwriter::DESCRIBE)
    }
}

/// The text, or `<none>`.
pub(crate) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// A timestamp in RFC 1123's form with a numeric zone, as kubectl prints it.
pub(crate) fn date(timestamp: &str) -> String {
    use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
    match timestamp.parse::<Timestamp>() {
        Ok(at) => at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        Err(_) => "<unset>".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// Whether a line of `text` reads so, however wide its columns are.
    pub(crate) fn has_line(text: &str, line: &str) -> bool {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().any(|candidate| words(candidate) == words(line))
    }

    #[test]
    fn lists_stand_below_each_other() {
        let mut text = Text::default();
        text.field("Name", "x");
        text.map("Labels", &json!({"l": {"b": "2", "a": "1"}}), "/l", "=");
        text.map("Annotations", &json!({}), "/a", ": ");
        text.line("Inner:");
        text.nested(|text| text.field("Deep", 5));
        let expected = "Name:         x\nLabels:       a=1\n              b=2\nAnnotations:  <none>\nInner:\n  Deep:  5\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn dates_are_rfc_1123() {
        assert_eq!(date("2026-01-02T03:04:05Z"), "Fri, 02 Jan 2026 03:04:05 +0000");
        assert_eq!(date(""), "<unset>");
    }
}
