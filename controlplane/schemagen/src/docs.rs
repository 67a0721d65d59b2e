//! Descriptions of messages and fields, from the tables that upstream generates for its own OpenAPI documents
//! (`types_swagger_doc_generated.go`).

use std::fmt::Write as _;

use regex::Regex;

/// One package's lines: `P prefix`, `Message text`, ` field text`. Line breaks are written `\n`.
#[must_use]
pub fn render(prefix: &str, text: &str) -> String {
    let start = Regex::new(r"^var map_(\w+) = map").expect("static pattern");
    let entry = Regex::new(r#"^\t"([^"]*)":\s+"(.*)",$"#).expect("static pattern");
    let mut out = format!("P {prefix}\n");
    let mut message = "";
    for line in text.lines() {
        if let Some(found) = start.captures(line) {
            message = found.get(1).map_or("", |name| name.as_str());
            continue;
        }
        let Some(found) = entry.captures(line) else { continue };
        let text = unquote(&found[2]);
        let name = match &found[1] {
            "" => message.to_owned(),
            field => format!(" {field}"),
        };
        // A message without a text of its own still needs its line above its fields.
        if found[1].is_empty() || !out.lines().any(|line| belongs(line, message)) {
            writeln!(out, "{message} {}", if found[1].is_empty() { text.as_str() } else { "" })
                .expect("writing to a String cannot fail");
        }
        if !found[1].is_empty() {
            writeln!(out, "{name} {text}").expect("writing to a String cannot fail");
        }
    }
    out
}

fn belongs(line: &str, message: &str) -> bool {
    line.strip_prefix(message).is_some_and(|rest| rest.starts_with(' '))
}

/// Undoes Go's quoting of `"`; line breaks and backslashes stay as they are written.
fn unquote(text: &str) -> String {
    text.replace("\\\"", "\"").replace("\\t", " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stand_above_their_fields() {
        let text = "var map_A = map[string]string{\n\t\"\":  \"An A.\\nMore.\",\n\t\"x\": \"the \\\"x\\\"\",\n}\nvar map_B = map[string]string{\n\t\"y\": \"why\",\n}\n";
        assert_eq!(render("p.v1", text), "P p.v1\nA An A.\\nMore.\n x the \"x\"\nB \n y why\n");
    }
}
