//! The math extension (cel-go `ext/math.go`).

use super::{Cost, Row, items};
use crate::{eval::Outcome, program::EvalError, value::Value};

const MANY: &[&str] = &[
    "(list<A>)->A",
    "(dyn)->dyn",
    "(dyn, dyn)->dyn",
    "(dyn, dyn, dyn)->dyn",
    "(dyn, dyn, dyn, dyn)->dyn",
    "(dyn, dyn, dyn, dyn, dyn)->dyn",
    "(dyn, dyn, dyn, dyn, dyn, dyn)->dyn",
];
const DOUBLE: &[&str] = &["(double)->double"];
const TEST: &[&str] = &["(double)->bool"];
const SIGNED: &[&str] = &["(int)->int", "(uint)->uint", "(double)->double"];
const BITS: &[&str] = &["(int, int)->int", "(uint, uint)->uint"];
const SHIFT: &[&str] = &["(int, int)->int", "(uint, int)->uint"];

pub(super) const ROWS: &[Row] = &[
    ("math.greatest", MANY, |args| best(args, "max"), Cost::Walk),
    ("math.least", MANY, |args| best(args, "min"), Cost::Walk),
    ("math.ceil", DOUBLE, |args| double(args, f64::ceil), Cost::One),
    ("math.floor", DOUBLE, |args| double(args, f64::floor), Cost::One),
    ("math.round", DOUBLE, |args| double(args, f64::round), Cost::One),
    ("math.trunc", DOUBLE, |args| double(args, f64::trunc), Cost::One),
    ("math.sqrt", &["(double)->double", "(int)->double", "(uint)->double"], square_root, Cost::One),
    ("math.abs", SIGNED, absolute, Cost::One),
    ("math.sign", SIGNED, sign, Cost::One),
    ("math.isNaN", TEST, |args| test(args, f64::is_nan), Cost::One),
    ("math.isInf", TEST, |args| test(args, f64::is_infinite), Cost::One),
    ("math.isFinite", TEST, |args| test(args, f64::is_finite), Cost::One),
    ("math.bitAnd", BITS, |args| bits(args, |a, b| a & b), Cost::One),
    ("math.bitOr", BITS, |args| bits(args, |a, b| a | b), Cost::One),
    ("math.bitXor", BITS, |args| bits(args, |a, b| a ^ b), Cost::One),
    ("math.bitNot", &["(int)->int", "(uint)->uint"], bit_not, Cost::One),
    ("math.bitShiftLeft", SHIFT, |args| shift(args, true), Cost::One),
    ("math.bitShiftRight", SHIFT, |args| shift(args, false), Cost::One),
];

fn best(arguments: &[Value], which: &str) -> Outcome {
    let list = match &arguments[0] {
        Value::List(_) if arguments.len() == 1 => items(arguments, 0)?,
        _ => arguments,
    };
    let mut values = list.iter();
    let empty = || EvalError::failed(format!("math.@{which}(list) argument must not be empty"));
    let mut best = values.next().ok_or_else(empty)?;
    for value in values {
        let order = value.compare(best).ok_or_else(EvalError::no_overload)?;
        if (which == "max" && order.is_gt()) || (which == "min" && order.is_lt()) {
            best = value;
        }
    }
    match best {
        Value::Int(_) | Value::Uint(_) | Value::Double(_) => Ok(best.clone()),
        _ => Err(EvalError::no_overload()),
    }
}

fn double(arguments: &[Value], of: impl Fn(f64) -> f64) -> Outcome {
    match &arguments[0] {
        Value::Double(number) => Ok(Value::Double(of(*number))),
        _ => Err(EvalError::no_overload()),
    }
}

fn test(arguments: &[Value], of: impl Fn(f64) -> bool) -> Outcome {
    match &arguments[0] {
        Value::Double(number) => Ok(Value::Bool(of(*number))),
        _ => Err(EvalError::no_overload()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a root is a double")]
fn square_root(arguments: &[Value]) -> Outcome {
    Ok(Value::Double(match &arguments[0] {
        Value::Double(number) => number.sqrt(),
        Value::Int(number) => (*number as f64).sqrt(),
        Value::Uint(number) => (*number as f64).sqrt(),
        _ => return Err(EvalError::no_overload()),
    }))
}

fn absolute(arguments: &[Value]) -> Outcome {
    Ok(match &arguments[0] {
        Value::Int(number) => {
            Value::Int(number.checked_abs().ok_or_else(|| EvalError::failed("integer overflow"))?)
        }
        Value::Double(number) => Value::Double(number.abs()),
        Value::Uint(number) => Value::Uint(*number),
        _ => return Err(EvalError::no_overload()),
    })
}

fn sign(arguments: &[Value]) -> Outcome {
    Ok(match &arguments[0] {
        Value::Int(number) => Value::Int(number.signum()),
        Value::Uint(number) => Value::Uint(u64::from(*number > 0)),
        Value::Double(number) if *number == 0.0 || number.is_nan() => Value::Double(*number),
        Value::Double(number) => Value::Double(number.signum()),
        _ => return Err(EvalError::no_overload()),
    })
}

fn bits(arguments: &[Value], of: impl Fn(u64, u64) -> u64) -> Outcome {
    Ok(match (&arguments[0], &arguments[1]) {
        (Value::Int(a), Value::Int(b)) => {
            Value::Int(of(a.cast_unsigned(), b.cast_unsigned()).cast_signed())
        }
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(of(*a, *b)),
        _ => return Err(EvalError::no_overload()),
    })
}

fn bit_not(arguments: &[Value]) -> Outcome {
    Ok(match &arguments[0] {
        Value::Int(number) => Value::Int(!number),
        Value::Uint(number) => Value::Uint(!number),
        _ => return Err(EvalError::no_overload()),
    })
}

fn shift(arguments: &[Value], left: bool) -> Outcome {
    let Value::Int(places) = &arguments[1] else { return Err(EvalError::no_overload()) };
    let negative = || EvalError::failed(format!("math.bitShift negative offset: {places}"));
    let places = u32::try_from(*places).map_err(|_| negative())?;
    let moved = |bits: u64| {
        if left { bits.checked_shl(places) } else { bits.checked_shr(places) }.unwrap_or(0)
    };
    Ok(match &arguments[0] {
        Value::Int(number) => Value::Int(moved(number.cast_unsigned()).cast_signed()),
        Value::Uint(number) => Value::Uint(moved(*number)),
        _ => return Err(EvalError::no_overload()),
    })
}
