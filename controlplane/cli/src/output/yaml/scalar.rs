//! In which style a text is written so that it is read as the same text.

/// The four ways that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// The style of a text.
pub(super) fn style(text: &str, is_key: bool) -> Style {
    let features = Features::of(text);
    if text.contains('\n') {
        return if is_key || !features.literal_allowed { Style::Double } else { Style::Literal };
    }
    if is_ambiguous(text) {
        return Style::Double;
    }
    if features.plain_allowed {
        Style::Plain
    } else if features.single_allowed {
        Style::Single
    } else {
        Style::Double
    }
}

/// What the characters of a text allow.
struct Features {
    plain_allowed: bool,
    single_allowed: bool,
    literal_allowed: bool,
}

impl Features {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let is_blank = |c: Option<&char>| matches!(c, None | Some(' ' | '\t' | '\n' | '\r'));
        let mut indicator = text.starts_with("---") || text.starts_with("...");
        let mut special = false;
        let mut space_before_break = false;
        let mut space_after_break = false;
        for (position, &c) in chars.iter().enumerate() {
            let before = position.checked_sub(1).and_then(|position| chars.get(position));
            let next = chars.get(position + 1);
            indicator |= is_indicator(c, position == 0, is_blank(next), is_blank(before));
            special |= !is_printable(c);
            space_before_break |= c == ' ' && next == Some(&'\n');
            space_after_break |= c == '\n' && next == Some(&' ');
        }
        let ends = [chars.first(), chars.last()];
        let spaced = ends.iter().any(|c| matches!(c, Some(' ' | '\n')));
        let trailing_space = chars.last() == Some(&' ');
        let broken = special || space_before_break;
        Self {
            plain_allowed: !indicator && !spaced && !broken && !text.contains('\n'),
            single_allowed: !broken && !space_after_break,
            literal_allowed: !broken && !trailing_space,
        }
    }
}

/// Whether a character would mean something else in a plain scalar.
fn is_indicator(c: char, first: bool, before_blank: bool, after_blank: bool) -> bool {
    match c {
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
        | '@' | '`'
            if first =>
        {
            true
        }
        '?' | '-' if first => before_blank,
        ':' => before_blank,
        '#' => after_blank,
        _ => false,
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
        && !matches!(c, '\u{2028}' | '\u{2029}')
}

/// A character inside double quotes.
pub(super) fn escape(c: char) -> String {
    match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\0' => "\\0".to_owned(),
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        '\u{1b}' => "\\e".to_owned(),
        '\u{85}' => "\\N".to_owned(),
        '\u{2028}' => "\\L".to_owned(),
        '\u{2029}' => "\\P".to_owned(),
        c if is_printable(c) => c.to_string(),
        c => match u32::from(c) {
            code @ ..=0xff => format!("\\x{code:02X}"),
            code @ ..=0xffff => format!("\\u{code:04X}"),
            code => format!("\\U{code:08X}"),
        },
    }
}

/// Words that YAML 1.1 reads as something else than text.
const WORDS: [&str; 29] = [
    "", "~", "null", "Null", "NULL", "<<", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE",
    "on", "On", "ON", "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF",
    "=",
];
const NUMBERS: [&str; 12] = [
    ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN",
    ".NAN",
];

/// Whether a plain scalar of this text would be read as a number, a date, a truth value or nothing.
fn is_ambiguous(text: &str) -> bool {
    (WORDS.contains(&text) && text != "=")
        || NUMBERS.contains(&text)
        || is_number(text)
        || is_sexagesimal(text)
        || is_timestamp(text)
}

fn is_number(text: &str) -> bool {
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let prefixed = [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2), ("0o", 8), ("0O", 8)];
    if prefixed.iter().any(|(prefix, radix)| {
        unsigned.strip_prefix(prefix).is_some_and(|rest| digits(rest, *radix))
    }) {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let decimal = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let exponent_fits = exponent
        .is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), 10));
    has_digits && decimal(whole) && decimal(fraction) && exponent_fits
}

/// `12:30:45`, which YAML 1.1 reads as a number of base 60.
fn is_sexagesimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or("");
    let rest: Vec<_> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return false };
    let below_60 = |part: &str| {
        let digits = part.chars().all(|c| c.is_ascii_digit());
        digits && matches!(part.len(), 1 | 2) && part.parse::<u8>().is_ok_and(|number| number < 60)
    };
    let (seconds, fraction) = last.split_once('.').unwrap_or((last, ""));
    first.starts_with(|c: char| c.is_ascii_digit())
        && first.chars().all(|c| c.is_ascii_digit() || c == '_')
        && middle.iter().all(|part| below_60(part))
        && below_60(seconds)
        && fraction.chars().all(|c| c.is_ascii_digit() || c == '_')
}

/// `2026-01-02`, `2026-1-2T3:4:5.6Z`, `2026-01-02 03:04:05`.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let numbers = |text: &str, separator, lengths: &[std::ops::RangeInclusive<usize>]| {
        let parts: Vec<_> = text.split(separator).collect();
        parts.len() == lengths.len()
            && parts.iter().zip(lengths).all(|(part, length)| {
                length.contains(&part.len()) && part.chars().all(|c| c.is_ascii_digit())
            })
    };
    let Some(time) = time else { return numbers(date, '-', &[4..=4, 2..=2, 2..=2]) };
    let clock = time.find(['Z', '+', '-', ' ']).map_or(time, |end| &time[..end]);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    numbers(date, '-', &[4..=4, 1..=2, 1..=2])
        && numbers(clock, ':', &[1..=2, 1..=2, 1..=2])
        && fraction.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_go_yamls() {
        for (text, expected) in [
            ("plain", Style::Plain),
            ("with space", Style::Plain),
            ("a:b", Style::Plain),
            ("a, b [c]", Style::Plain),
            ("/path?x=1&y=2", Style::Plain),
            ("v1.36.4", Style::Plain),
            ("10.96.0.1", Style::Plain),
            ("10.96.0.0/16", Style::Plain),
            ("-x", Style::Plain),
            ("a: b", Style::Single),
            ("a #b", Style::Single),
            ("*", Style::Single),
            ("'q'", Style::Single),
            ("\"q\"", Style::Single),
            ("{\"a\":1}", Style::Single),
            ("- a", Style::Single),
            ("-", Style::Single),
            (" lead", Style::Single),
            ("tab\t", Style::Double),
            ("", Style::Double),
            ("true", Style::Double),
            ("N", Style::Double),
            ("null", Style::Double),
            ("12", Style::Double),
            ("1.5", Style::Double),
            ("1e3", Style::Double),
            ("0x1F", Style::Double),
            ("1_000", Style::Double),
            ("12:30:45", Style::Double),
            ("2026-11-21T15:51:50Z", Style::Double),
            ("2026-11-21", Style::Double),
            ("a\nb", Style::Literal),
            ("a\tb\nc", Style::Double),
            ("a \nb", Style::Double),
        ] {
            assert_eq!(style(text, false), expected, "{text:?}");
        }
        assert_eq!(style("a\nb", true), Style::Double);
    }
}
