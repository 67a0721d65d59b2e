//! Reads struct tags and markers from Go sources: JSON names, pointers, patch and list rules.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

#[derive(Default)]
pub struct Types {
    pub structs: BTreeMap<String, Struct>,
    /// Named slices (`type ExtraValue []string`), which are messages in protobuf only.
    pub slices: BTreeSet<String>,
    /// The value of the package's `GroupName` constant.
    pub group: Option<String>,
}

#[derive(Default)]
pub struct Struct {
    /// Has `TypeMeta` inline: a kind.
    pub is_kind: bool,
    pub is_atomic: bool,
    /// By protobuf number.
    pub fields: BTreeMap<u32, Field>,
}

#[derive(Default)]
pub struct Field {
    pub json: String,
    pub is_pointer: bool,
    pub is_inline: bool,
    pub omit_empty: bool,
    pub omit_zero: bool,
    pub is_optional: bool,
    pub patch_strategy: String,
    pub patch_key: String,
    pub list_type: String,
    pub list_keys: Vec<String>,
    pub struct_type: String,
    pub map_type: String,
    pub default: String,
}

impl Types {
    pub fn add(&mut self, text: &str) {
        let start = Regex::new(r"^type (\w+) struct \{").expect("static pattern");
        let slice = Regex::new(r"^type (\w+) \[\]").expect("static pattern");
        let group = Regex::new(r#"^const GroupName = "([^"]*)""#).expect("static pattern");
        let mut comments: Vec<String> = Vec::new();
        let mut current: Option<String> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if let Some(comment) = trimmed.strip_prefix("//") {
                comments.push(comment.trim().to_owned());
                continue;
            }
            if let Some(found) = start.captures(line) {
                let name = found[1].to_owned();
                let is_atomic = comments.iter().any(|comment| comment == "+structType=atomic");
                self.structs.insert(name.clone(), Struct { is_atomic, ..Struct::default() });
                current = Some(name);
            } else if let Some(found) = slice.captures(line) {
                self.slices.insert(found[1].to_owned());
            } else if let Some(found) = group.captures(line) {
                self.group = Some(found[1].to_owned());
            } else if line.starts_with('}') {
                current = None;
            } else if let Some(owner) = current.as_ref().and_then(|name| self.structs.get_mut(name))
            {
                add_field(owner, trimmed, &comments);
            }
            // A blank line ends a comment that belongs to nothing, except above a type.
            if !trimmed.is_empty() || current.is_some() {
                comments.clear();
            }
        }
    }
}

fn add_field(owner: &mut Struct, line: &str, comments: &[String]) {
    let Some((declaration, tags)) = line.split_once('`') else { return };
    let json = tag(tags, "json");
    if declaration.contains("TypeMeta") && json == ",inline" {
        owner.is_kind |= tag(tags, "protobuf").is_empty();
    }
    let protobuf = tag(tags, "protobuf");
    let Some(number) = protobuf.split(',').nth(1).and_then(|text| text.parse().ok()) else {
        return;
    };
    let mut words = declaration.split_whitespace();
    let name = words.next().unwrap_or_default();
    let kind = words.next().unwrap_or(name);
    let options: Vec<&str> = json.split(',').skip(1).collect();
    let marker = |name: &str| -> Vec<String> {
        let prefix = format!("+{name}=");
        comments.iter().filter_map(|text| text.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    let first = |name: &str| marker(name).into_iter().next().unwrap_or_default();
    owner.fields.insert(
        number,
        Field {
            json: json.split(',').next().unwrap_or_default().to_owned(),
            is_pointer: kind.starts_with('*'),
            is_inline: options.contains(&"inline"),
            omit_empty: options.contains(&"omitempty"),
            omit_zero: options.contains(&"omitzero"),
            is_optional: comments.iter().any(|text| text == "+optional"),
            patch_strategy: tag(tags, "patchStrategy"),
            patch_key: tag(tags, "patchMergeKey"),
            list_type: first("listType"),
            list_keys: marker("listMapKey"),
            struct_type: first("structType"),
            map_type: first("mapType"),
            default: first("default").trim_matches('"').to_owned(),
        },
    );
}

/// The value of a struct tag, or "".
fn tag(tags: &str, name: &str) -> String {
    let start = format!("{name}:\"");
    let Some(at) = tags.find(&start) else { return String::new() };
    let rest = &tags[at + start.len()..];
    rest[..rest.find('"').unwrap_or(rest.len())].to_owned()
}
