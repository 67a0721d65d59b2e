//! What stands between quotes: escapes of strings and bytes (cel-spec, "String and Bytes Values").

/// The bytes that a string or bytes literal stands for; `None` when an escape is wrong. In bytes `\x` and octal escapes
/// are bytes, in strings they are code points; `\u` has no place in bytes.
pub(super) fn unescape(text: &str, bytes: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(sign) = rest.next() {
        if sign != '\\' {
            push(&mut out, sign);
            continue;
        }
        let kind = rest.next()?;
        let plain = match kind {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' | '\'' | '"' | '`' | '?' => kind,
            _ => {
                let code = code_point(kind, &mut rest, bytes)?;
                match bytes {
                    true => out.push(u8::try_from(code).ok()?),
                    false => push(&mut out, char::from_u32(code)?),
                }
                continue;
            }
        };
        push(&mut out, plain);
    }
    Some(out)
}

fn push(out: &mut Vec<u8>, sign: char) {
    out.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes());
}

fn code_point(kind: char, rest: &mut std::str::Chars<'_>, bytes: bool) -> Option<u32> {
    let (radix, digits, mut code) = match kind {
        'x' | 'X' => (16, 2, 0),
        'u' if !bytes => (16, 4, 0),
        'U' if !bytes => (16, 8, 0),
        '0'..='3' => (8, 2, kind.to_digit(8)?),
        _ => return None,
    };
    for _ in 0..digits {
        code = code.checked_mul(radix)?.checked_add(rest.next()?.to_digit(radix)?)?;
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_of_strings_and_bytes() {
        for (text, bytes, expect) in [
            (r"a\n\t\\\'", false, Some("a\n\t\\'".as_bytes())),
            (r"\u00e9\x41\101", false, Some("éAA".as_bytes())),
            (r"\U0001F600", false, Some("😀".as_bytes())),
            (r"\xff\377é", true, Some(&[0xff, 0xff, 0xc3, 0xa9][..])),
            (r"\xff", false, Some("ÿ".as_bytes())),
            (r"\u0041", true, None),
            (r"\ud800", false, None),
            (r"\q", false, None),
            (r"\400", false, None),
            (r"\x4", false, None),
            ("\\", false, None),
        ] {
            assert_eq!(unescape(text, bytes).as_deref(), expect, "{text}");
        }
    }
}
