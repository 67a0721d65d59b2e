//! Reads messages and field numbers from `generated.proto` files.

use std::collections::BTreeMap;

use regex::Regex;

pub struct File {
    /// `k8s.io.api.core.v1`
    pub name: String,
    pub messages: BTreeMap<String, Vec<Field>>,
}

pub struct Field {
    pub name: String,
    pub number: u32,
    /// `optional` or `repeated`; empty for maps.
    pub label: String,
    /// `string`, `Pod`, `.k8s.io.apimachinery...`, `map<string, bytes>`
    pub kind: String,
}

pub fn parse(text: &str) -> File {
    let package = Regex::new(r"^package ([\w.]+);").expect("static pattern");
    let message = Regex::new(r"^message (\w+) \{").expect("static pattern");
    let field =
        Regex::new(r"^  (?:(optional|repeated) )?(map<[^>]+>|[\w.]+) (\w+) = (\d+)(?: \[.*\])?;")
            .expect("static pattern");
    let mut file = File { name: String::new(), messages: BTreeMap::new() };
    let mut current = String::new();
    for line in text.lines() {
        if let Some(found) = package.captures(line) {
            file.name = found[1].to_owned();
        } else if let Some(found) = message.captures(line) {
            current = found[1].to_owned();
            file.messages.entry(current.clone()).or_default();
        } else if let Some(found) = field.captures(line)
            && let Some(fields) = file.messages.get_mut(&current)
        {
            fields.push(Field {
                name: found[3].to_owned(),
                number: found[4].parse().unwrap_or_default(),
                label: found.get(1).map_or("", |label| label.as_str()).to_owned(),
                kind: found[2].to_owned(),
            });
        }
    }
    file
}
