//! Named formats of text (upstream `library/format.go`).

use api::rules::names;
use base64::Engine;

use super::{Cost, Row, opaque, text};
use crate::{
    eval::Outcome,
    program::EvalError,
    value::{Opaque, Value},
};

const NAMES: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "qualifiedName",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

macro_rules! named {
    ($name:literal) => {
        (
            concat!("format.", $name),
            &["()->format"],
            |_| Ok(Value::opaque(Opaque::Format($name))),
            Cost::One,
        )
    };
}

pub(super) const ROWS: &[Row] = &[
    ("format.named", &["(string)->optional<format>"], find, Cost::One),
    ("validate", &["format.(string)->optional<list<string>>"], validate, Cost::Walk),
    named!("dns1123Label"),
    named!("dns1123Subdomain"),
    named!("dns1035Label"),
    named!("dns1123LabelPrefix"),
    named!("dns1123SubdomainPrefix"),
    named!("dns1035LabelPrefix"),
    named!("qualifiedName"),
    named!("labelValue"),
    named!("uri"),
    named!("uuid"),
    named!("byte"),
    named!("date"),
    named!("datetime"),
];

fn find(arguments: &[Value]) -> Outcome {
    let wanted = text(arguments, 0)?;
    let found = NAMES.iter().find(|name| **name == wanted);
    Ok(found.map_or(Value::Optional(None), |name| Value::some(Value::opaque(Opaque::Format(name)))))
}

fn validate(arguments: &[Value]) -> Outcome {
    let Opaque::Format(name) = opaque(arguments, 0)? else { return Err(EvalError::no_overload()) };
    let problem = problem(name, text(arguments, 1)?);
    Ok(problem.map_or(Value::Optional(None), |problem| {
        Value::some(Value::list(vec![Value::text(problem)]))
    }))
}

fn problem(name: &str, text: &str) -> Option<String> {
    let prefix = text.strip_suffix('-').unwrap_or(text);
    let unless = |good: bool, message: &str| (!good).then(|| message.to_owned());
    match name {
        "dns1123Label" => names::dns1123_label(text),
        "dns1123Subdomain" => names::dns1123_subdomain(text),
        "dns1035Label" => names::dns1035_label(text),
        "dns1123LabelPrefix" => names::dns1123_label(prefix),
        "dns1123SubdomainPrefix" => names::dns1123_subdomain(prefix),
        "dns1035LabelPrefix" => names::dns1035_label(prefix),
        "qualifiedName" => names::label_key(text),
        "labelValue" => names::label_value(text),
        "uri" => unless(url::Url::parse(text).is_ok() || text.starts_with('/'), "invalid URI"),
        "uuid" => unless(is_uuid(text), "does not match the UUID format"),
        "byte" => {
            let good = base64::engine::general_purpose::STANDARD.decode(text).is_ok();
            unless(good, "invalid base64")
        }
        "date" => unless(is_date(text), "invalid date"),
        "datetime" => unless(text.parse::<jiff::Timestamp>().is_ok(), "invalid datetime"),
        _ => None,
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_uuid(text: &str) -> bool {
    let bare: String = text.chars().filter(|sign| *sign != '-').collect();
    bare.len() == 32 && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
}
