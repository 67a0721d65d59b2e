//! Resource quantities (`100m`, `1Gi`, `2e3`), upstream `apimachinery/pkg/api/resource`.

use std::cmp::Ordering;
use std::fmt;

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// An amount in billionths, with its way of writing.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub struct Malformed;

const NANOS: i128 = 1_000_000_000;
const BINARY: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// Parses a quantity. Fractions below a billionth are rounded up, as upstream.
pub fn parse(text: &str) -> Result<Quantity, Malformed> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return Err(Malformed);
    }
    let (format, scale) = parse_suffix(suffix)?;
    let digits: String = [whole, fraction].concat();
    let mantissa: i128 = digits.parse().map_err(|_| Malformed)?;
    let places = i32::try_from(fraction.len()).map_err(|_| Malformed)?;
    let nanos = scaled(mantissa, places, scale);
    Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
}

enum Scale {
    Two(u32),
    Ten(i32),
}

fn parse_suffix(suffix: &str) -> Result<(Format, Scale), Malformed> {
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::BinarySi, Scale::Two(*power)));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::DecimalSi, Scale::Ten(*power)));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(Malformed)?;
    let power: i32 = exponent.parse().map_err(|_| Malformed)?;
    Ok((Format::DecimalExponent, Scale::Ten(power)))
}

/// `mantissa / 10^places * scale` in billionths, rounded up, saturating at the largest amount.
fn scaled(mantissa: i128, places: i32, scale: Scale) -> i128 {
    const MAX: i128 = i64::MAX as i128 * NANOS;
    let (binary, ten) = match scale {
        Scale::Two(power) => (1i128 << power, -places + 9),
        Scale::Ten(power) => (1, power - places + 9),
    };
    let Some(value) = mantissa.checked_mul(binary) else { return MAX };
    let power = 10i128.checked_pow(ten.unsigned_abs());
    let result = match (ten >= 0, power) {
        (true, Some(power)) => value.checked_mul(power).unwrap_or(MAX),
        (true, None) => {
            if value == 0 {
                0
            } else {
                MAX
            }
        }
        (false, Some(power)) => (value + power - 1) / power,
        (false, None) => i128::from(value != 0),
    };
    result.min(MAX)
}

impl Quantity {
    /// A whole number of units.
    #[must_use]
    pub fn from_units(units: i64, format: Format) -> Self {
        Self { nanos: i128::from(units) * NANOS, format }
    }

    /// Thousandths (millicores), rounded up.
    #[must_use]
    pub fn milli(self) -> i64 {
        saturate(div_ceil(self.nanos, NANOS / 1000))
    }

    /// Whole units (bytes), rounded up.
    #[must_use]
    pub fn value(self) -> i64 {
        saturate(div_ceil(self.nanos, NANOS))
    }

    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// True when the amount is a whole number of units.
    #[must_use]
    pub fn is_integer(self) -> bool {
        self.nanos % NANOS == 0
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_sub(other.nanos), format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix that keeps the number whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let units = self.nanos / NANOS;
        if self.format == Format::BinarySi && self.is_integer() && units.abs() >= 1024 {
            let power = BINARY
                .iter()
                .rev()
                .find(|(_, power)| units % (1i128 << power) == 0)
                .map_or(("", 0), |found| *found);
            return write!(f, "{}{}", units >> power.1, power.0);
        }
        let (mut mantissa, mut exponent) = (self.nanos, -9);
        while mantissa % 1000 == 0 && exponent < 18 {
            mantissa /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 {
                write!(f, "{mantissa}")
            } else {
                write!(f, "{mantissa}e{exponent}")
            };
        }
        let suffix =
            DECIMAL.iter().find(|(_, power)| *power == exponent).map_or("", |found| found.0);
        write!(f, "{mantissa}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_one_form() {
        for (text, expected) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("512Mi", "512Mi"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("1000", "1k"),
            ("100M", "100M"),
            ("-5", "-5"),
            ("1.0000000001", "1000000001n"),
            ("3.000", "3"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "x", "1x", "1.2.3", ".", "1 Gi", "--1", "e3"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_compare_and_round() {
        assert!(parse("1Gi").unwrap() > parse("1G").unwrap());
        assert_eq!(parse("1").unwrap(), parse("1000m").unwrap());
        assert_eq!(parse("100m").unwrap().milli(), 100);
        assert_eq!(parse("100m").unwrap().value(), 1);
        assert_eq!(parse("1.5Gi").unwrap().value(), 1_610_612_736);
    }
}
