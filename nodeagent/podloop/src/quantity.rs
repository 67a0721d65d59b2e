//! Kubernetes quantities ("500m", "1Gi", "1e3") as integers.

/// The value in thousandths, rounded up; `None` when the text is no quantity or is too large.
#[must_use]
pub fn milli(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text
        .char_indices()
        .find(|(at, c)| {
            !(c.is_ascii_digit() || *c == '.' || (*at == 0 && (*c == '-' || *c == '+')))
        })
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !whole.chars().chain(fraction.chars()).any(|c| c.is_ascii_digit()) {
        return None;
    }
    let negative = whole.starts_with('-');
    let digits = format!("{}{fraction}", whole.trim_start_matches(['-', '+']));
    let value: i128 = digits.parse().ok()?;
    let scaled = scale(value, suffix, u32::try_from(fraction.len()).ok()?)?;
    i64::try_from(if negative { -scaled } else { scaled }).ok()
}

/// The value in whole units, rounded up.
#[must_use]
pub fn whole(text: &str) -> Option<i64> {
    milli(text).map(|milli| milli.div_euclid(1000) + i64::from(milli.rem_euclid(1000) != 0))
}

fn scale(value: i128, suffix: &str, fraction_digits: u32) -> Option<i128> {
    let (factor, divisor): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "" => (1000, 1),
        "k" => (1_000_000, 1),
        "M" => (10i128.pow(9), 1),
        "G" => (10i128.pow(12), 1),
        "T" => (10i128.pow(15), 1),
        "P" => (10i128.pow(18), 1),
        "E" => (10i128.pow(21), 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000i128 << 50, 1),
        "Ei" => (1000i128 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            match u32::try_from(power) {
                Ok(power) => (1000i128.checked_mul(10i128.checked_pow(power)?)?, 1),
                Err(_) => (1000, 10i128.checked_pow(power.unsigned_abs())?),
            }
        }
    };
    let divisor = divisor.checked_mul(10i128.checked_pow(fraction_digits)?)?;
    let product = value.checked_mul(factor)?;
    Some(product / divisor + i128::from(product % divisor != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expect) in [
            ("500m", Some(500)),
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("128Mi", Some(134_217_728_000)),
            ("1e3", Some(1_000_000)),
            ("2E-1", Some(200)),
            ("100n", Some(1)),
            ("", None),
            ("x", None),
            ("1Q", None),
        ] {
            assert_eq!(milli(text), expect, "{text}");
        }
        assert_eq!(whole("1500m"), Some(2));
    }
}
