//! Timestamps and durations.

use jiff::{
    SignedDuration, Timestamp, Zoned,
    tz::{Offset, TimeZone},
};

use super::{Cost, Row, text};
use crate::{eval::Outcome, program::EvalError, value::Value};

const PART: &[&str] = &["timestamp.()->int", "timestamp.(string)->int"];
const PART_OR_LENGTH: &[&str] =
    &["timestamp.()->int", "timestamp.(string)->int", "duration.()->int"];

pub(super) const ROWS: &[Row] = &[
    (
        "timestamp",
        &["(timestamp)->timestamp", "(string)->timestamp", "(int)->timestamp"],
        timestamp,
        Cost::One,
    ),
    ("duration", &["(duration)->duration", "(string)->duration"], duration, Cost::One),
    ("getFullYear", PART, |args| part(args, |time| i64::from(time.year())), Cost::One),
    ("getMonth", PART, |args| part(args, |time| i64::from(time.month()) - 1), Cost::One),
    ("getDate", PART, |args| part(args, |time| i64::from(time.day())), Cost::One),
    ("getDayOfMonth", PART, |args| part(args, |time| i64::from(time.day()) - 1), Cost::One),
    ("getDayOfYear", PART, |args| part(args, |time| i64::from(time.day_of_year()) - 1), Cost::One),
    (
        "getDayOfWeek",
        PART,
        |args| part(args, |time| i64::from(time.weekday().to_sunday_zero_offset())),
        Cost::One,
    ),
    (
        "getHours",
        PART_OR_LENGTH,
        |args| part_or(args, |time| i64::from(time.hour()), 3600 * 1000),
        Cost::One,
    ),
    (
        "getMinutes",
        PART_OR_LENGTH,
        |args| part_or(args, |time| i64::from(time.minute()), 60 * 1000),
        Cost::One,
    ),
    (
        "getSeconds",
        PART_OR_LENGTH,
        |args| part_or(args, |time| i64::from(time.second()), 1000),
        Cost::One,
    ),
    (
        "getMilliseconds",
        PART_OR_LENGTH,
        |args| part_or(args, |time| i64::from(time.millisecond()), 1),
        Cost::One,
    ),
];

fn timestamp(arguments: &[Value]) -> Outcome {
    let bad =
        || EvalError::failed("type conversion error from 'string' to 'google.protobuf.Timestamp'");
    Ok(Value::Timestamp(match &arguments[0] {
        Value::Timestamp(time) => *time,
        Value::String(text) => text.parse().map_err(|_| bad())?,
        Value::Int(seconds) => {
            Timestamp::from_second(*seconds).map_err(|_| EvalError::failed("timestamp overflow"))?
        }
        _ => return Err(EvalError::no_overload()),
    }))
}

fn duration(arguments: &[Value]) -> Outcome {
    match &arguments[0] {
        Value::Duration(_) => Ok(arguments[0].clone()),
        Value::String(text) => parse_duration(text).map(Value::Duration).ok_or_else(|| {
            EvalError::failed("type conversion error from 'string' to 'google.protobuf.Duration'")
        }),
        _ => Err(EvalError::no_overload()),
    }
}

/// A duration as Go writes it: `1h30m`, `-1.5s`, `100ms`.
pub(crate) fn parse_duration(text: &str) -> Option<SignedDuration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
    ];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?;
        let amount = &rest[..end];
        let tail = &rest[end..];
        let unit_end =
            tail.find(|sign: char| sign.is_ascii_digit() || sign == '.').unwrap_or(tail.len());
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == &tail[..unit_end])?;
        nanos = nanos.checked_add(scaled(amount, *scale)?)?;
        rest = &tail[unit_end..];
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).ok()?;
    Some(SignedDuration::from_nanos(nanos))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "scales are whole, fractions of a nanosecond are dropped as in Go"
)]
fn scaled(amount: &str, scale: f64) -> Option<i128> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: f64 =
        if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
    whole.checked_mul(scale as i128)?.checked_add((fraction * scale) as i128)
}

/// A duration in seconds: `90s`, `1.5s`.
pub(crate) fn duration_text(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, rest) = (nanos.abs() / 1_000_000_000, nanos.abs() % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

fn zone(name: &str) -> Result<TimeZone, EvalError> {
    if let Ok(zone) = TimeZone::get(name) {
        return Ok(zone);
    }
    let bad = || EvalError::failed(format!("unknown time zone {name}"));
    let (sign, rest) = match name.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, name.strip_prefix('+').unwrap_or(name)),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(bad)?;
    let hours: i32 = hours.parse().map_err(|_| bad())?;
    let minutes: i32 = minutes.parse().map_err(|_| bad())?;
    if !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
        return Err(bad());
    }
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).map_err(|_| bad())?;
    Ok(TimeZone::fixed(offset))
}

fn part(arguments: &[Value], of: impl Fn(&Zoned) -> i64) -> Outcome {
    let Value::Timestamp(time) = &arguments[0] else { return Err(EvalError::no_overload()) };
    let zone = if arguments.len() > 1 { zone(text(arguments, 1)?)? } else { TimeZone::UTC };
    Ok(Value::Int(of(&time.to_zoned(zone))))
}

fn part_or(arguments: &[Value], of: impl Fn(&Zoned) -> i64, millis: i128) -> Outcome {
    match &arguments[0] {
        Value::Duration(duration) => {
            let whole = duration.as_millis() / millis;
            Ok(Value::Int(i64::try_from(whole).unwrap_or(i64::MAX)))
        }
        _ => part(arguments, of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds) in [
            ("1h30m", "5400s"),
            ("-1.5s", "-1.5s"),
            ("100ms", "0.1s"),
            ("0", "0s"),
            ("1.5h", "5400s"),
        ] {
            assert_eq!(duration_text(parse_duration(text).unwrap()), seconds, "{text}");
        }
        for bad in ["", "1", "h", "1x", "-", "1.2.3s"] {
            assert!(parse_duration(bad).is_none(), "{bad}");
        }
    }
}
