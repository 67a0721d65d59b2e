//! The formats that upstream checks (`apiextensions validation/formats.go`, kube-openapi `strfmt`). Others are ignored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::{Engine, engine::general_purpose::STANDARD};

/// True when the text is not of the format.
#[must_use]
pub fn format_problem(format: &str, text: &str) -> bool {
    !match format {
        "date-time" | "datetime" => crate::time::parse(text).is_some(),
        "date" => is_date(text),
        "duration" => is_duration(text),
        "byte" => STANDARD.decode(text.replace(['\n', '\r'], "")).is_ok(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(format, text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "uri" => is_uri(text),
        "hexcolor" => {
            text.strip_prefix('#').is_some_and(|hex| matches!(hex.len(), 3 | 6) && is_hex(hex))
        }
        "k8s-short-name" => crate::rules::names::dns1123_label(text).is_none(),
        "k8s-long-name" => crate::rules::names::dns1123_subdomain(text).is_none(),
        _ => true,
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_date(text: &str) -> bool {
    let shape = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    shape && crate::time::parse(&format!("{text}T00:00:00Z")).is_some()
}

/// Go's durations, and whole numbers of days and weeks.
fn is_duration(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['-', '+']);
    if unsigned.is_empty() {
        return false;
    }
    let mut rest = unsigned;
    while !rest.is_empty() {
        let digits =
            rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.').unwrap_or(rest.len());
        if digits == 0 {
            return false;
        }
        let tail = rest[digits..].trim_start();
        let unit = tail
            .find(|sign: char| sign.is_ascii_digit() || sign == '.' || sign == ' ')
            .unwrap_or(tail.len());
        let known = ["ns", "us", "µs", "ms", "s", "m", "h", "d", "w"].contains(&&tail[..unit]);
        if !known && !(unit == 0 && unsigned == "0") {
            return false;
        }
        rest = tail[unit..].trim_start();
    }
    true
}

fn is_uuid(format: &str, text: &str) -> bool {
    let bare: String = text.chars().filter(|sign| *sign != '-').collect();
    let version = match format {
        "uuid3" => Some('3'),
        "uuid4" => Some('4'),
        "uuid5" => Some('5'),
        _ => None,
    };
    bare.len() == 32
        && is_hex(&bare)
        && version.is_none_or(|version| bare.chars().nth(12) == Some(version))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(|part| part.len() == 2 && is_hex(part))
}

fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && !host.is_empty() && !text.contains(char::is_whitespace)
    })
}

fn is_hostname(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let inside = |sign: char| {
            sign.is_ascii_alphanumeric() || sign == '-' || sign == '_' || !sign.is_ascii()
        };
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    !name.is_empty() && name.len() <= 253 && name.split('.').all(label)
}

/// What Go's `ParseRequestURI` takes: an absolute path or a scheme.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.contains(char::is_control) || text.contains(' ') {
        return false;
    }
    let scheme = |name: &str| {
        name.starts_with(|sign: char| sign.is_ascii_alphabetic())
            && name.chars().all(|sign| sign.is_ascii_alphanumeric() || "+-.".contains(sign))
    };
    text.starts_with('/')
        || text.split_once(':').is_some_and(|(name, rest)| scheme(name) && !rest.is_empty())
}
