//! Resource quantities (upstream `library/quantity.go`), and comparisons that versions share.

use std::cmp::Ordering;

use api::quantity::{self, Format, Quantity};

use super::{Cost, Row, opaque, text};
use crate::{
    eval::Outcome,
    program::EvalError,
    value::{Opaque, Value},
};

pub(super) const ROWS: &[Row] = &[
    ("quantity", &["(string)->quantity"], make, Cost::Walk),
    (
        "isQuantity",
        &["(string)->bool"],
        |args| Ok(Value::Bool(quantity::parse(text(args, 0)?).is_ok())),
        Cost::Walk,
    ),
    ("sign", &["quantity.()->int"], sign, Cost::One),
    ("isInteger", &["quantity.()->bool"], is_integer, Cost::One),
    ("asInteger", &["quantity.()->int"], as_integer, Cost::One),
    ("asApproximateFloat", &["quantity.()->double"], as_float, Cost::One),
    (
        "add",
        &["quantity.(quantity)->quantity", "quantity.(int)->quantity"],
        |args| combine(args, |a, b| a + b),
        Cost::One,
    ),
    (
        "sub",
        &["quantity.(quantity)->quantity", "quantity.(int)->quantity"],
        |args| combine(args, |a, b| a - b),
        Cost::One,
    ),
    ("isLessThan", COMPARED, |args| Ok(Value::Bool(order(args)?.is_lt())), Cost::One),
    ("isGreaterThan", COMPARED, |args| Ok(Value::Bool(order(args)?.is_gt())), Cost::One),
    (
        "compareTo",
        &["quantity.(quantity)->int", "semver.(semver)->int"],
        |args| Ok(Value::Int(i64::from(order(args)? as i8))),
        Cost::One,
    ),
];

const COMPARED: &[&str] = &["quantity.(quantity)->bool", "semver.(semver)->bool"];

fn make(arguments: &[Value]) -> Outcome {
    let parsed = quantity::parse(text(arguments, 0)?);
    parsed
        .map(|value| Value::opaque(Opaque::Quantity(value)))
        .map_err(|error| EvalError::failed(error.to_string()))
}

fn get(arguments: &[Value], index: usize) -> Result<Quantity, EvalError> {
    match arguments.get(index) {
        Some(Value::Int(units)) => Ok(Quantity::from_units(*units, Format::DecimalSi)),
        _ => match opaque(arguments, index)? {
            Opaque::Quantity(value) => Ok(*value),
            _ => Err(EvalError::no_overload()),
        },
    }
}

fn sign(arguments: &[Value]) -> Outcome {
    let value = get(arguments, 0)?;
    Ok(Value::Int(if value.is_zero() {
        0
    } else if value.is_negative() {
        -1
    } else {
        1
    }))
}

fn whole(value: Quantity) -> Option<i64> {
    let units = value.value();
    (value.is_integer() && units != i64::MAX && units != i64::MIN).then_some(units)
}

fn is_integer(arguments: &[Value]) -> Outcome {
    Ok(Value::Bool(whole(get(arguments, 0)?).is_some()))
}

fn as_integer(arguments: &[Value]) -> Outcome {
    let number = whole(get(arguments, 0)?);
    number.map(Value::Int).ok_or_else(|| EvalError::failed("cannot convert value to integer"))
}

#[expect(clippy::cast_precision_loss, reason = "the function promises an approximation")]
fn as_float(arguments: &[Value]) -> Outcome {
    let value = get(arguments, 0)?;
    Ok(Value::Double(match whole(value) {
        Some(units) => units as f64,
        None => value.milli() as f64 / 1000.0,
    }))
}

fn combine(arguments: &[Value], with: impl Fn(Quantity, Quantity) -> Quantity) -> Outcome {
    Ok(Value::opaque(Opaque::Quantity(with(get(arguments, 0)?, get(arguments, 1)?))))
}

fn order(arguments: &[Value]) -> Result<Ordering, EvalError> {
    match (opaque(arguments, 0)?, opaque(arguments, 1)?) {
        (Opaque::Quantity(a), Opaque::Quantity(b)) => Ok(a.cmp(b)),
        (Opaque::Semver(a), Opaque::Semver(b)) => Ok(a.cmp_precedence(b)),
        _ => Err(EvalError::no_overload()),
    }
}
