//! The language's own functions: sizes, conversions, tests of text, optionals, types.

use std::sync::Arc;

use super::{Cost, Row, number, text};
use crate::{
    eval::Outcome,
    program::EvalError,
    value::{Opaque, Value},
};

pub(super) const ROWS: &[Row] = &[
    (
        "size",
        &[
            "string.()->int",
            "bytes.()->int",
            "list<A>.()->int",
            "map<A, B>.()->int",
            "(string)->int",
            "(bytes)->int",
            "(list<A>)->int",
            "(map<A, B>)->int",
        ],
        size,
        Cost::One,
    ),
    ("contains", &["string.(string)->bool"], contains, Cost::Match),
    ("startsWith", &["string.(string)->bool"], starts_with, Cost::Walk),
    ("endsWith", &["string.(string)->bool"], ends_with, Cost::Walk),
    ("dyn", &["(A)->dyn"], |arguments| Ok(arguments[0].clone()), Cost::One),
    ("type", &["(A)->type"], |arguments| Ok(Value::Type(arguments[0].type_name())), Cost::One),
    ("bool", &["(bool)->bool", "(string)->bool"], to_bool, Cost::One),
    (
        "int",
        &["(int)->int", "(uint)->int", "(double)->int", "(string)->int", "(timestamp)->int"],
        to_int,
        Cost::Walk,
    ),
    (
        "uint",
        &["(uint)->uint", "(int)->uint", "(double)->uint", "(string)->uint"],
        to_uint,
        Cost::Walk,
    ),
    (
        "double",
        &["(double)->double", "(int)->double", "(uint)->double", "(string)->double"],
        to_double,
        Cost::Walk,
    ),
    (
        "string",
        &[
            "(string)->string",
            "(bool)->string",
            "(int)->string",
            "(uint)->string",
            "(double)->string",
            "(bytes)->string",
            "(timestamp)->string",
            "(duration)->string",
            "(ip)->string",
            "(cidr)->string",
        ],
        to_string,
        Cost::Walk,
    ),
    ("bytes", &["(bytes)->bytes", "(string)->bytes"], to_bytes, Cost::Walk),
    (
        "optional.of",
        &["(A)->optional<A>"],
        |arguments| Ok(Value::some(arguments[0].clone())),
        Cost::One,
    ),
    ("optional.none", &["()->optional<A>"], |_| Ok(Value::Optional(None)), Cost::One),
    ("optional.ofNonZeroValue", &["(A)->optional<A>"], of_non_zero, Cost::One),
    ("hasValue", &["optional<A>.()->bool"], has_value, Cost::One),
    ("value", &["optional<A>.()->A"], value, Cost::One),
    ("optional.unwrap", &["(list<optional<A>>)->list<A>"], unwrap_all, Cost::Walk),
    ("unwrapOpt", &["list<optional<A>>.()->list<A>"], unwrap_all, Cost::Walk),
];

fn size(arguments: &[Value]) -> Outcome {
    Ok(number(match &arguments[0] {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        _ => return Err(EvalError::no_overload()),
    }))
}

fn contains(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(text(arguments, 0)?.contains(text(arguments, 1)?)))
}

fn starts_with(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(text(arguments, 0)?.starts_with(text(arguments, 1)?)))
}

fn ends_with(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(text(arguments, 0)?.ends_with(text(arguments, 1)?)))
}

fn conversion(from: &str, to: &str) -> EvalError {
    EvalError::failed(format!("type conversion error from '{from}' to '{to}'"))
}

fn to_bool(arguments: &[Value]) -> Outcome {
    match &arguments[0] {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(word) => match &**word {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(conversion("string", "bool")),
        },
        _ => Err(EvalError::no_overload()),
    }
}

const INT_EDGE: f64 = 9_223_372_036_854_775_808.0;

#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn to_int(arguments: &[Value]) -> Outcome {
    let range = || EvalError::failed("integer overflow");
    Ok(Value::Int(match &arguments[0] {
        Value::Int(number) => *number,
        Value::Uint(number) => i64::try_from(*number).map_err(|_| range())?,
        Value::Double(number) if number.abs() < INT_EDGE => *number as i64,
        Value::Double(_) => return Err(range()),
        Value::String(text) => text.parse().map_err(|_| conversion("string", "int"))?,
        Value::Timestamp(time) => time.as_second(),
        _ => return Err(EvalError::no_overload()),
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked first"
)]
fn to_uint(arguments: &[Value]) -> Outcome {
    let range = || EvalError::failed("unsigned integer overflow");
    Ok(Value::Uint(match &arguments[0] {
        Value::Uint(number) => *number,
        Value::Int(number) => u64::try_from(*number).map_err(|_| range())?,
        Value::Double(number) if *number >= 0.0 && *number < INT_EDGE * 2.0 => *number as u64,
        Value::Double(_) => return Err(range()),
        Value::String(text) => text.parse().map_err(|_| conversion("string", "uint"))?,
        _ => return Err(EvalError::no_overload()),
    }))
}

#[expect(clippy::cast_precision_loss, reason = "CEL converts to the nearest double")]
fn to_double(arguments: &[Value]) -> Outcome {
    Ok(Value::Double(match &arguments[0] {
        Value::Double(number) => *number,
        Value::Int(number) => *number as f64,
        Value::Uint(number) => *number as f64,
        Value::String(text) => text.parse().map_err(|_| conversion("string", "double"))?,
        _ => return Err(EvalError::no_overload()),
    }))
}

fn to_string(arguments: &[Value]) -> Outcome {
    Ok(Value::text(match &arguments[0] {
        Value::String(text) => return Ok(Value::String(text.clone())),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| EvalError::failed("invalid UTF-8 in bytes, cannot convert to string"))?,
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(duration) => super::times::duration_text(*duration),
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Ip(ip) => ip.to_string(),
            Opaque::Cidr(cidr) => cidr.to_string(),
            _ => return Err(EvalError::no_overload()),
        },
        _ => return Err(EvalError::no_overload()),
    }))
}

fn to_bytes(arguments: &[Value]) -> Outcome {
    match &arguments[0] {
        Value::String(text) => Ok(Value::Bytes(Arc::from(text.as_bytes()))),
        Value::Bytes(_) => Ok(arguments[0].clone()),
        _ => Err(EvalError::no_overload()),
    }
}

fn of_non_zero(arguments: &[Value]) -> Outcome {
    let zero = match &arguments[0] {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(number) => *number == 0,
        Value::Uint(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.items.is_empty(),
        Value::Map(map) => map.entries.is_empty(),
        Value::Duration(duration) => duration.is_zero(),
        Value::Optional(inner) => inner.is_none(),
        _ => false,
    };
    Ok(if zero { Value::Optional(None) } else { Value::some(arguments[0].clone()) })
}

fn has_value(arguments: &[Value]) -> Outcome {
    match &arguments[0] {
        Value::Optional(inner) => Ok(Value::Bool(inner.is_some())),
        _ => Err(EvalError::no_overload()),
    }
}

fn value(arguments: &[Value]) -> Outcome {
    match &arguments[0] {
        Value::Optional(Some(inner)) => Ok((**inner).clone()),
        Value::Optional(None) => Err(EvalError::failed("optional.none() dereference")),
        _ => Err(EvalError::no_overload()),
    }
}

fn unwrap_all(arguments: &[Value]) -> Outcome {
    let present = super::items(arguments, 0)?.iter().filter_map(|item| match item {
        Value::Optional(inner) => inner.as_deref().cloned(),
        other => Some(other.clone()),
    });
    Ok(Value::list(present.collect()))
}
