//! Syntax of IP addresses and CIDRs, upstream `apimachinery/pkg/util/validation/ip.go`. Each check gives the problem's
//! text, or `None`.

use std::net::{IpAddr, Ipv4Addr};

const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
pub(super) const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A range of addresses; bits beyond the prefix may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cidr {
    address: IpAddr,
    prefix_bits: u32,
}

impl Cidr {
    /// As old fields are read: octets and the prefix may have leading zeros.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (address, prefix) = value.split_once('/')?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let cidr = Self {
            address: parse_loosely(address)?,
            prefix_bits: digits.then(|| prefix.parse().ok())??,
        };
        (cidr.prefix_bits <= cidr.width()).then_some(cidr)
    }

    fn width(self) -> u32 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    pub(super) fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// The address's bits at the top of a word, and those of them that the prefix covers.
    fn words(self) -> (u128, u128) {
        let all = match self.address {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        let mask = u128::MAX.checked_shl(128 - self.prefix_bits).unwrap_or(0);
        (all, all & mask)
    }

    /// Whether the other one lies within and is smaller.
    pub(super) fn holds(self, other: Self) -> bool {
        let inner = Self { prefix_bits: self.prefix_bits, ..other };
        self.is_ipv4() == other.is_ipv4()
            && self.prefix_bits < other.prefix_bits
            && self.words().1 == inner.words().1
    }
}

/// IPv4 octets may have leading zeros here.
fn parse_loosely(value: &str) -> Option<IpAddr> {
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
    let problem = match value.parse::<IpAddr>() {
        Err(_) if parse_loosely(value).is_some() => "must not have leading 0s",
        Err(_) => ADDRESS,
        Ok(address) if is_mapped(address) => "must not be an IPv4-mapped IPv6 address",
        Ok(address) => {
            let form = address.to_string();
            return (form != value).then(|| canonical_form(&form));
        }
    };
    Some(problem.to_owned())
}

/// A range of addresses in its canonical form.
pub(super) fn cidr(value: &str) -> Option<String> {
    let Some(parsed) = Cidr::parse(value) else { return Some(CIDR.to_owned()) };
    let (address, prefix) = value.split_once('/').unwrap_or_default();
    let padded = prefix.len() > 1 && prefix.starts_with('0');
    let (all, covered) = parsed.words();
    let problem = if padded || address.parse::<IpAddr>().is_err() {
        "must not have leading 0s in IP or prefix length"
    } else if is_mapped(parsed.address) {
        "must not have an IPv4-mapped IPv6 address"
    } else if all != covered {
        "must not have bits set beyond the prefix length"
    } else {
        let form = format!("{}/{}", parsed.address, parsed.prefix_bits);
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
            let parse = |value| Cidr::parse(value).unwrap();
            assert_eq!(parse(outer).holds(parse(inner)), expected, "{outer} {inner}");
        }
    }
}
