//! Syntax of IP addresses and CIDRs, upstream `apimachinery/pkg/util/validation/ip.go`. Each check gives the problem's
//! text, or `None`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
pub(super) const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A range of addresses as old fields are read: octets and the prefix may have leading zeros, bits beyond the prefix may be
/// set.
pub(super) fn parse_range(value: &str) -> Option<IpNet> {
    let (address, prefix) = value.split_once('/')?;
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    IpNet::new(parse_loosely(address)?, digits.then(|| prefix.parse().ok())??).ok()
}

/// Whether `inner` lies within `outer` and is smaller.
pub(super) fn holds(outer: &IpNet, inner: &IpNet) -> bool {
    outer.contains(inner) && outer.prefix_len() < inner.prefix_len()
}

/// IPv4 octets may have leading zeros here.
pub(super) fn parse_loosely(value: &str) -> Option<IpAddr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let octets: Vec<u8> = value
        .split('.')
        .map(|octet| {
            let digits = !octet.is_empty() && octet.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| octet.parse().ok()).flatten()
        })
        .collect::<Option<_>>()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn canonical_form(form: &str) -> String {
    format!("must be in canonical form ({form:?})")
}

/// An address in its canonical form.
pub(super) fn address(value: &str) -> Option<String> {
    legacy_address(value).or_else(|| {
        let form = value.parse::<IpAddr>().ok()?.to_string();
        (form != value).then(|| canonical_form(&form))
    })
}

/// An address in any unambiguous form, as fields take it that are older than the canonical form.
pub(super) fn legacy_address(value: &str) -> Option<String> {
    let problem = match value.parse::<IpAddr>() {
        Err(_) if parse_loosely(value).is_some() => "must not have leading 0s",
        Err(_) => ADDRESS,
        Ok(address) if is_mapped(address) => "must not be an IPv4-mapped IPv6 address",
        Ok(_) => return None,
    };
    Some(problem.to_owned())
}

/// A range of addresses in its canonical form.
pub(super) fn cidr(value: &str) -> Option<String> {
    let Some(parsed) = parse_range(value) else { return Some(CIDR.to_owned()) };
    let (address, prefix) = value.split_once('/').unwrap_or_default();
    let padded = prefix.len() > 1 && prefix.starts_with('0');
    let problem = if padded || address.parse::<IpAddr>().is_err() {
        "must not have leading 0s in IP or prefix length"
    } else if is_mapped(parsed.addr()) {
        "must not have an IPv4-mapped IPv6 address"
    } else if parsed.trunc() != parsed {
        "must not have bits set beyond the prefix length"
    } else {
        let form = parsed.to_string();
        return (form != value).then(|| canonical_form(&form));
    };
    Some(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (value, expected) in [
            ("10.9.8.7", ""),
            ("2001:db8::1", ""),
            ("2001:DB8::1", "must be in canonical form (\"2001:db8::1\")"),
            ("2001:db8:0:0::1", "must be in canonical form (\"2001:db8::1\")"),
            ("010.9.8.7", "must not have leading 0s"),
            ("::ffff:10.9.8.7", "must not be an IPv4-mapped IPv6 address"),
            ("10.9.8", ADDRESS),
            ("", ADDRESS),
        ] {
            assert_eq!(address(value).unwrap_or_default(), expected, "{value}");
            let canonical = expected.is_empty() || expected.starts_with("must be in canonical");
            assert_eq!(legacy_address(value).is_none(), canonical, "{value}");
        }
    }

    #[test]
    fn cidrs() {
        for (value, expected) in [
            ("10.9.8.0/24", ""),
            ("0.0.0.0/0", ""),
            ("10.9.8.7/32", ""),
            ("2001:db8::/64", ""),
            ("::1/128", ""),
            ("2001:db8:0::/64", "must be in canonical form (\"2001:db8::/64\")"),
            ("10.9.8.7/24", "must not have bits set beyond the prefix length"),
            ("10.9.8.0/024", "must not have leading 0s in IP or prefix length"),
            ("::ffff:10.9.8.0/120", "must not have an IPv4-mapped IPv6 address"),
            ("10.9.8.0/33", CIDR),
            ("10.9.8.0", CIDR),
            ("10.9.8.0/", CIDR),
        ] {
            assert_eq!(cidr(value).unwrap_or_default(), expected, "{value}");
        }
    }

    #[test]
    fn ranges_hold_smaller_ones() {
        for (outer, inner, expected) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("0.0.0.0/0", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.0/16", false),
            ("::/0", "10.0.0.0/16", false),
            ("2001:db8::/32", "2001:db8:1::/48", true),
        ] {
            let parse = |value| parse_range(value).unwrap();
            assert_eq!(holds(&parse(outer), &parse(inner)), expected, "{outer} {inner}");
        }
    }
}
