//! Joins messages and structs into the lines of the schema table.

use std::fmt::Write as _;

use crate::{Package, gotypes, proto};

/// Messages with a JSON form of their own have one-letter types and no lines.
const SPECIAL: [(&str, &str); 8] = [
    ("k8s.io.apimachinery.pkg.apis.meta.v1.Time", "T"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime", "M"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.Duration", "D"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1", "F"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.Verbs", "L"),
    ("k8s.io.apimachinery.pkg.api.resource.Quantity", "Q"),
    ("k8s.io.apimachinery.pkg.util.intstr.IntOrString", "I"),
    ("k8s.io.apimachinery.pkg.runtime.RawExtension", "R"),
];
const SKIPPED: [&str; 2] = ["Timestamp", "TypeMeta"];

pub fn render(packages: &[Package]) -> String {
    let mut out = String::new();
    for package in packages {
        let name = &package.proto.name;
        let api_version = api_version(package);
        writeln!(out, "P {} {} {api_version}", alias(name), component_prefix(name))
            .expect("writing to a String cannot fail");
        for (message, fields) in &package.proto.messages {
            let full = format!("{name}.{message}");
            let is_special = SPECIAL.iter().any(|(special, _)| *special == full);
            if is_special || SKIPPED.contains(&message.as_str()) || is_slice(package, message) {
                continue;
            }
            render_message(&mut out, package, message, fields);
        }
    }
    out
}

/// `core/v1` for `k8s.io.api.core.v1`, `meta` for meta/v1.
fn alias(package: &str) -> String {
    let parts: Vec<&str> = package.rsplitn(3, '.').collect();
    if package.contains("apimachinery") {
        "meta".to_owned()
    } else {
        format!("{}/{}", parts[1], parts[0])
    }
}

/// The prefix of OpenAPI component names.
fn component_prefix(package: &str) -> String {
    format!("io.k8s.{}", package.trim_start_matches("k8s.io."))
}

fn api_version(package: &Package) -> String {
    let version = package.proto.name.rsplit('.').next().unwrap_or_default();
    match package.go.group.as_deref() {
        None | Some("") => version.to_owned(),
        Some(group) => format!("{group}/{version}"),
    }
}

fn is_slice(package: &Package, message: &str) -> bool {
    package.go.slices.contains(message)
}

fn render_message(out: &mut String, package: &Package, message: &str, fields: &[proto::Field]) {
    let none = gotypes::Struct::default();
    let go = package.go.structs.get(message).unwrap_or(&none);
    let kind = if go.is_kind || message == "List" { "!" } else { "" };
    let atomic = if go.is_atomic { "~" } else { "" };
    writeln!(out, "{message}{kind}{atomic}").expect("writing to a String cannot fail");
    let mut fields: Vec<&proto::Field> = fields.iter().collect();
    fields.sort_by_key(|field| field.number);
    for field in fields {
        // Aliases of another package's struct (core List, MatchCondition) have no fields of their own.
        let absent = gotypes::Field::default();
        let line = render_field(package, field, go.fields.get(&field.number).unwrap_or(&absent));
        writeln!(out, " {line}").expect("writing to a String cannot fail");
    }
}

fn render_field(package: &Package, field: &proto::Field, go: &gotypes::Field) -> String {
    let name = if go.json.is_empty() { field.name.clone() } else { go.json.clone() };
    let mut flags = String::new();
    for (set, letter) in [
        (go.is_pointer, 'p'),
        (go.omit_empty, 'o'),
        (go.omit_zero, 'z'),
        (go.is_inline, 'i'),
        (!go.is_optional && !go.omit_empty && !go.is_inline, 'r'),
    ] {
        if set {
            flags.push(letter);
        }
    }
    let mut words = vec![name, field.number.to_string(), type_text(package, field)];
    words.push(if flags.is_empty() { "-".to_owned() } else { flags });
    for (key, value) in [
        ("ps", go.patch_strategy.clone()),
        ("pk", go.patch_key.clone()),
        ("lt", go.list_type.clone()),
        ("lk", go.list_keys.join(",")),
        ("st", go.struct_type.clone()),
        ("mt", go.map_type.clone()),
        ("d", go.default.clone()),
    ] {
        if !value.is_empty() && !value.contains(' ') && value != "{}" && !value.contains("ref(") {
            words.push(format!("{key}={value}"));
        }
    }
    words.join(" ")
}

fn type_text(package: &Package, field: &proto::Field) -> String {
    if let Some(inner) = field.kind.strip_prefix("map<string, ") {
        return format!("{{}}{}", scalar_or_ref(package, inner.trim_end_matches('>')));
    }
    let inner = scalar_or_ref(package, &field.kind);
    if field.label == "repeated" { format!("[]{inner}") } else { inner }
}

fn scalar_or_ref(package: &Package, kind: &str) -> String {
    let letter = match kind {
        "string" => "s",
        "bool" => "b",
        "int32" => "i",
        "int64" => "l",
        "double" => "d",
        "bytes" => "y",
        _ => "",
    };
    if !letter.is_empty() {
        return letter.to_owned();
    }
    let kind = kind.trim_start_matches('.');
    let full =
        if kind.contains('.') { kind.to_owned() } else { format!("{}.{kind}", package.proto.name) };
    if let Some((_, letter)) = SPECIAL.iter().find(|(special, _)| *special == full) {
        return (*letter).to_owned();
    }
    let (home, message) = full.rsplit_once('.').unwrap_or(("", &full));
    if home == package.proto.name {
        return if is_slice(package, message) { "L".to_owned() } else { format!("@{message}") };
    }
    // The one named slice that other packages refer to is authentication's and authorization's ExtraValue.
    if message == "ExtraValue" { "L".to_owned() } else { format!("@{}.{message}", alias(home)) }
}
