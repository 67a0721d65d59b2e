//! Tokens.

use super::{SyntaxError, quotes};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Also `true`, `in` and the like.
    Word(String),
    /// A field's name between backticks.
    Quoted(String),
    Int(String),
    Uint(String),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    Sign(&'static str),
    End,
}

/// A token, its text, and the byte where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place<'s> {
    pub(super) token: Token,
    pub(super) text: &'s str,
    pub(super) at: usize,
}

/// Longer ones first.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "?", ":", ",", ".", "(", ")", "[", "]", "{",
    "}", "+", "-", "*", "/", "%",
];

/// All tokens of a text, the end included.
pub(super) fn tokens(source: &str) -> Result<Vec<Place<'_>>, SyntaxError> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        at += blank(&source[at..]);
        let rest = &source[at..];
        if rest.is_empty() {
            found.push(Place { token: Token::End, text: "<EOF>", at });
            return Ok(found);
        }
        let (token, length) = token(rest).map_err(|message| SyntaxError::new(at, message))?;
        found.push(Place { token, text: &rest[..length], at });
        at += length;
    }
}

/// The length of white space and comments.
fn blank(text: &str) -> usize {
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches(['\t', ' ', '\r', '\n', '\x0c']);
        match trimmed.strip_prefix("//") {
            Some(comment) => rest = &comment[comment.find('\n').unwrap_or(comment.len())..],
            None => return text.len() - trimmed.len(),
        }
    }
}

fn token(rest: &str) -> Result<(Token, usize), String> {
    let first = rest.as_bytes()[0];
    if let Some(quoted) = quoted(rest) {
        return quoted;
    }
    if first == b'`' {
        return field(rest);
    }
    if first.is_ascii_digit()
        || (first == b'.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit))
    {
        return number(rest);
    }
    if first.is_ascii_alphabetic() || first == b'_' {
        let length = word(rest);
        return Ok((Token::Word(rest[..length].to_owned()), length));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok((Token::Sign(sign), sign.len())),
        None => Err(unknown(&rest[..rest.chars().next().map_or(0, char::len_utf8)])),
    }
}

fn unknown(text: &str) -> String {
    format!("Syntax error: token recognition error at: '{text}'")
}

fn word(rest: &str) -> usize {
    rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

fn field(rest: &str) -> Result<(Token, usize), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/ ".contains(&byte);
    let length = rest.bytes().skip(1).take_while(|byte| allowed(*byte)).count();
    match rest.as_bytes().get(length + 1) {
        Some(b'`') if length > 0 => Ok((Token::Quoted(rest[1..=length].to_owned()), length + 2)),
        _ => Err(unknown(&rest[..=length])),
    }
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let bytes = rest.as_bytes();
    let digits =
        |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unsigned = |length: usize| matches!(bytes.get(length), Some(b'u' | b'U'));
    if let Some(hex) = rest.strip_prefix("0x") {
        let length = 2 + hex.bytes().take_while(u8::is_ascii_hexdigit).count();
        if length > 2 {
            let text = rest[..length].to_owned();
            return Ok(match unsigned(length) {
                true => (Token::Uint(text), length + 1),
                false => (Token::Int(text), length),
            });
        }
    }
    let whole = digits(0);
    let mut length = whole;
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let power = bytes.get(length + 1 + sign..).map_or(0, |_| digits(length + 1 + sign));
        if power > 0 {
            length += 1 + sign + power;
        }
    }
    let text = &rest[..length];
    if length > whole {
        let value: f64 = text.parse().map_err(|_| "invalid double literal".to_owned())?;
        return match value.is_finite() {
            true => Ok((Token::Double(value), length)),
            false => Err("invalid double literal".to_owned()),
        };
    }
    Ok(match unsigned(length) {
        true => (Token::Uint(text.to_owned()), length + 1),
        false => (Token::Int(text.to_owned()), length),
    })
}

/// A string or bytes literal, if one begins here: `b` makes bytes of it, `r` leaves escapes alone.
fn quoted(rest: &str) -> Option<Result<(Token, usize), String>> {
    let (bytes, after) = match rest.strip_prefix(['b', 'B']) {
        Some(after) => (true, after),
        None => (false, rest),
    };
    let (raw, after) = match after.strip_prefix(['r', 'R']) {
        Some(after) => (true, after),
        None => (false, after),
    };
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| after.starts_with(*quote))?;
    let body = &after[quote.len()..];
    let Some(length) = closing(body, quote, raw) else {
        return Some(Err(unknown(rest.lines().next().unwrap_or_default())));
    };
    let text = &body[..length];
    let total = rest.len() - body.len() + length + quote.len();
    let content = if raw { Some(text.as_bytes().to_vec()) } else { quotes::unescape(text, bytes) };
    Some(match content {
        Some(content) if bytes => Ok((Token::Bytes(content), total)),
        Some(content) => String::from_utf8(content)
            .map(|text| (Token::String(text), total))
            .map_err(|_| "invalid string literal".to_owned()),
        None => Err(format!("invalid {} literal", if bytes { "bytes" } else { "string" })),
    })
}

/// How long the text before the closing quote is.
fn closing(body: &str, quote: &str, raw: bool) -> Option<usize> {
    let mut signs = body.char_indices();
    while let Some((index, sign)) = signs.next() {
        if body[index..].starts_with(quote) {
            return Some(index);
        }
        match sign {
            '\\' if !raw => {
                signs.next()?;
            }
            '\n' | '\r' if quote.len() == 1 => return None,
            _ => {}
        }
    }
    None
}
