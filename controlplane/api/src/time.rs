//! RFC 3339 times as the API writes them, without a clock.

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    /// Since 1970.
    pub seconds: i64,
    pub nanos: u32,
}

/// Parses RFC 3339 with any offset.
#[must_use]
pub fn parse(text: &str) -> Option<Instant> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = bytes.get(from..to)?;
        part.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(part).ok()?.parse().ok()
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, byte)| bytes.get(*at) != Some(byte)) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
        let padded = format!("{:0<9}", fraction.get(..end.min(9)).filter(|part| !part.is_empty())?);
        nanos = padded.parse().ok()?;
        rest = &fraction[end..];
    }
    let offset = parse_offset(rest)?;
    let days = days_from_civil(year, month, day);
    // The 31st of April is the 1st of May.
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    Some(Instant { seconds: days * 86_400 + hour * 3600 + minute * 60 + second - offset, nanos })
}

fn parse_offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let number = |part: &str, end: i64| -> Option<i64> {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|number| digits && *number < end)
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    Some(sign * (number(hours, 24)? * 3600 + number(minutes, 60)? * 60))
}

/// `2006-01-02T15:04:05Z`.
#[must_use]
pub fn format_seconds(instant: Instant) -> String {
    format!("{}Z", date_time(instant.seconds))
}

/// `2006-01-02T15:04:05.000000Z`.
#[must_use]
pub fn format_micros(instant: Instant) -> String {
    format!("{}.{:06}Z", date_time(instant.seconds), instant.nanos / 1000)
}

fn date_time(seconds: i64) -> String {
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Nanoseconds of a Go duration (`1h30m`, `1.5s`, `-2m`); 0 when it is none.
#[must_use]
pub fn parse_go_duration(text: &str) -> i64 {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
    ];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let unit_end = rest[end..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |length| end + length);
        let scale = UNITS.iter().find(|(name, _)| *name == &rest[end..unit_end]);
        match (rest[..end].parse::<f64>(), scale) {
            (Ok(number), Some((_, scale))) => nanos += number * scale,
            _ => return 0,
        }
        rest = &rest[unit_end..];
    }
    (sign * nanos) as i64
}

/// A Go duration's text: `1h0m0s`, `1.5s`, `20ms`.
#[must_use]
pub fn format_go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let decimal = |value: u64, unit: u64| {
        let fraction = format!("{:09}", value % unit * (1_000_000_000 / unit));
        let fraction = fraction.trim_end_matches('0');
        match fraction {
            "" => format!("{}", value / unit),
            fraction => format!("{}.{fraction}", value / unit),
        }
    };
    let text = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// Days since 1970 of a date in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A span of time as `kubectl get` shows ages: upstream `apimachinery/pkg/util/duration.HumanDuration`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2024-02-29T12:30:45Z", "2024-02-29T12:30:45Z"),
            ("2024-03-01T01:00:00+02:00", "2024-02-29T23:00:00Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
            ("2100-12-31T23:59:59Z", "2100-12-31T23:59:59Z"),
        ] {
            assert_eq!(format_seconds(parse(text).unwrap()), expected);
        }
        assert_eq!(
            format_micros(parse("2020-01-02T03:04:05.678901234Z").unwrap()),
            "2020-01-02T03:04:05.678901Z"
        );
        for text in [
            "",
            "2020",
            "2020-13-01T00:00:00Z",
            "2020-01-01 00:00:00Z",
            "2020-01-01T00:00:00",
            "2026-02-29T00:00:00Z",
            "2020-01-01T00:00:60Z",
            "2020-01-01T00:00:00+24:00",
            "2020-01-01T00:00:00+2:00",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn go_durations() {
        for (text, nanos) in [
            ("1h0m0s", 3_600_000_000_000),
            ("1.5s", 1_500_000_000),
            ("20ms", 20_000_000),
            ("-1m30s", -90_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(
                (parse_go_duration(text), format_go_duration(nanos).as_str()),
                (nanos, text)
            );
        }
    }

    #[test]
    fn ages_read_well() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000 + 86_400, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
