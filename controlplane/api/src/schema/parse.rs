//! Parses the schema table's text.
//!
//! ```text
//! P ALIAS COMPONENT_PREFIX API_VERSION   a package
//! Name!~                                 a message; `!` a kind, `~` atomic
//!  json number type flags key=value...   a field of it
//! ```
//! Types: `s` string, `b` bool, `i` int32, `l` int64, `d` double, `y` bytes, `T` Time, `M` MicroTime, `D` Duration,
//! `F` FieldsV1, `L` list of strings, `Q` Quantity, `I` IntOrString, `R` RawExtension, `J` any JSON, `A` `B` `S` schema or
//! array, bool, strings; `@Name` or `@alias.Name` a message; with prefix `[]` a list, `{}` a map.
//! Flags: `p` pointer, `o` omitempty, `z` omitzero, `i` inline, `r` required. Keys: `ps` `pk` patch strategy and merge
//! key, `lt` `lk` list type and keys, `st` `mt` struct and map type, `d` default.

use std::collections::HashMap;

use super::{Field, Message, Shape, Type};

/// Parses the whole table. The text is part of the program, so malformed lines are a bug.
pub(super) fn parse(text: &'static str) -> Vec<Message> {
    let names = collect_names(text);
    let mut messages: Vec<Message> = Vec::new();
    let (mut alias, mut prefix, mut api_version) = ("", "", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("P ") {
            let mut words = rest.split(' ');
            alias = words.next().unwrap_or_default();
            prefix = words.next().unwrap_or_default();
            api_version = words.next().unwrap_or_default();
        } else if let Some(field) = line.strip_prefix(' ') {
            let owner = messages.last_mut().expect("a field follows its message");
            owner.fields.push(parse_field(field, alias, &names));
        } else {
            messages.push(Message {
                name: format!("{prefix}.{}", bare(line)),
                api_version,
                is_kind: line.contains('!'),
                is_atomic: line.contains('~'),
                fields: Vec::new(),
                flat: HashMap::new(),
            });
        }
    }
    for at in 0..messages.len() {
        messages[at].flat = flatten(&messages, at);
    }
    messages
}

fn bare(line: &str) -> &str {
    line.trim_end_matches(['!', '~'])
}

/// `alias.Name` to the message's position.
fn collect_names(text: &str) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    let mut alias = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("P ") {
            alias = rest.split(' ').next().unwrap_or_default();
        } else if !line.starts_with(' ') {
            names.insert(format!("{alias}.{}", bare(line)), names.len());
        }
    }
    names
}

fn parse_field(line: &'static str, alias: &str, names: &HashMap<String, usize>) -> Field {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (name, number, kind, flags) = (word(), word(), word(), word());
    let (shape, kind) = match (kind.strip_prefix("[]"), kind.strip_prefix("{}")) {
        (Some(inner), _) => (Shape::List, inner),
        (None, Some(inner)) => (Shape::Map, inner),
        (None, None) => (Shape::One, kind),
    };
    let rules: HashMap<&str, &'static str> =
        words.filter_map(|word| word.split_once('=')).collect();
    let rule = |key: &str| rules.get(key).copied().unwrap_or_default();
    let struct_type = if rule("mt").is_empty() { rule("st") } else { rule("mt") };
    Field {
        name,
        number: number.parse().expect("field numbers are numbers"),
        shape,
        kind: parse_type(kind, alias, names),
        is_pointer: flags.contains('p'),
        omit_empty: flags.contains('o'),
        omit_zero: flags.contains('z'),
        is_inline: flags.contains('i'),
        is_required: flags.contains('r'),
        patch_strategy: rule("ps"),
        patch_key: rule("pk"),
        list_type: rule("lt"),
        list_keys: rule("lk").split(',').filter(|key| !key.is_empty()).collect(),
        struct_type,
        default: rule("d"),
    }
}

fn parse_type(text: &str, alias: &str, names: &HashMap<String, usize>) -> Type {
    if let Some(reference) = text.strip_prefix('@') {
        let key = match reference.contains('.') {
            true => reference.to_owned(),
            false => format!("{alias}.{reference}"),
        };
        let at = names.get(&key).unwrap_or_else(|| panic!("schema table: no message {key}"));
        return Type::Message(*at);
    }
    match text {
        "s" => Type::Text,
        "b" => Type::Bool,
        "i" => Type::Int32,
        "l" => Type::Int64,
        "d" => Type::Double,
        "y" => Type::Bytes,
        "T" => Type::Time,
        "M" => Type::MicroTime,
        "D" => Type::Duration,
        "F" => Type::FieldsV1,
        "L" => Type::TextList,
        "Q" => Type::Quantity,
        "I" => Type::IntOrString,
        "R" => Type::RawExtension,
        "J" => Type::Json,
        "A" => Type::SchemaOrArray,
        "B" => Type::SchemaOrBool,
        "S" => Type::SchemaOrTexts,
        other => panic!("schema table: no type {other}"),
    }
}

fn flatten(messages: &[Message], at: usize) -> HashMap<&'static str, Field> {
    let mut flat = HashMap::new();
    for field in &messages[at].fields {
        match (field.is_inline, field.kind) {
            (true, Type::Message(inner)) => flat.extend(flatten(messages, inner)),
            _ => {
                flat.insert(field.name, field.clone());
            }
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use crate::schema::{Type, message, message_of};

    #[test]
    fn the_table_knows_pods() {
        let pod = message_of("v1", "Pod").unwrap();
        assert_eq!(pod.name, "io.k8s.api.core.v1.Pod");
        let spec = pod.field("spec").unwrap().message().unwrap();
        let containers = spec.field("containers").unwrap();
        assert_eq!(
            (containers.patch_key, containers.list_keys.as_slice()),
            ("name", &["name"][..])
        );
        let ports = containers.message().unwrap().field("ports").unwrap();
        assert_eq!(ports.list_keys, ["containerPort", "protocol"]);
        let volume = spec.field("volumes").unwrap().message().unwrap();
        assert!(volume.field("configMap").is_some(), "inlined fields are found");
        assert_eq!(
            message("io.k8s.api.core.v1.Secret").unwrap().field("data").unwrap().kind,
            Type::Bytes
        );
        assert!(message_of("apps/v1", "DeleteOptions").is_some());
    }
}
