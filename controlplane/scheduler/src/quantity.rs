//! Resource quantities (`100m`, `1Gi`, `1e3`) as whole numbers of thousandths (apimachinery `resource.Quantity`).

/// Parses a quantity into thousandths, rounding up; `None` where it is none.
#[must_use]
pub fn parse_milli(text: &str) -> Option<i128> {
    let digits =
        text.find(|c: char| !(c.is_ascii_digit() || ".+-".contains(c))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (numerator, denominator) = factor(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let joined: i128 = format!("{whole}{fraction}").parse().ok()?;
    let dividend = joined.checked_mul(numerator)?.checked_mul(1000)?;
    let divisor = scale.checked_mul(denominator)?;
    Some(dividend.div_euclid(divisor) + i128::from(dividend.rem_euclid(divisor) != 0))
}

/// Numerator and denominator of a suffix.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let value = 10_i128.checked_pow(power.unsigned_abs())?;
            if power < 0 { (1, value) } else { (value, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let cases = [
            ("1", Some(1000)),
            ("100m", Some(100)),
            ("1.5", Some(1500)),
            ("0.0001", Some(1)),
            ("1Ki", Some(1_024_000)),
            ("64Mi", Some(64 * 1024 * 1024 * 1000)),
            ("2e3", Some(2_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("", None),
            ("x", None),
            ("1Xi", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_milli(text), expected, "{text}");
        }
    }
}
