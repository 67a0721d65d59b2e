//! Addresses and networks (upstream `library/ip.go`, `library/cidr.go`).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::{Cost, Row, opaque, text};
use crate::{
    eval::Outcome,
    program::EvalError,
    value::{Opaque, Value},
};

pub(super) const ROWS: &[Row] = &[
    ("ip", &["(string)->ip", "cidr.()->ip"], ip, Cost::Walk),
    (
        "isIP",
        &["(string)->bool"],
        |args| Ok(Value::Bool(parse(text(args, 0)?).is_ok())),
        Cost::Walk,
    ),
    ("ip.isCanonical", &["(string)->bool"], is_canonical, Cost::Walk),
    (
        "family",
        &["ip.()->int"],
        |args| Ok(Value::Int(if address(args)?.is_ipv4() { 4 } else { 6 })),
        Cost::One,
    ),
    (
        "isUnspecified",
        &["ip.()->bool"],
        |args| Ok(Value::Bool(address(args)?.is_unspecified())),
        Cost::One,
    ),
    (
        "isLoopback",
        &["ip.()->bool"],
        |args| Ok(Value::Bool(address(args)?.is_loopback())),
        Cost::One,
    ),
    (
        "isLinkLocalMulticast",
        &["ip.()->bool"],
        |args| Ok(Value::Bool(link_multicast(address(args)?))),
        Cost::One,
    ),
    (
        "isLinkLocalUnicast",
        &["ip.()->bool"],
        |args| Ok(Value::Bool(link_unicast(address(args)?))),
        Cost::One,
    ),
    (
        "isGlobalUnicast",
        &["ip.()->bool"],
        |args| Ok(Value::Bool(global_unicast(address(args)?))),
        Cost::One,
    ),
    ("cidr", &["(string)->cidr"], cidr, Cost::Walk),
    (
        "isCIDR",
        &["(string)->bool"],
        |args| Ok(Value::Bool(parse_cidr(text(args, 0)?).is_ok())),
        Cost::Walk,
    ),
    ("containsIP", &["cidr.(ip)->bool", "cidr.(string)->bool"], contains_ip, Cost::One),
    ("containsCIDR", &["cidr.(cidr)->bool", "cidr.(string)->bool"], contains_cidr, Cost::One),
    (
        "masked",
        &["cidr.()->cidr"],
        |args| Ok(Value::opaque(Opaque::Cidr(network(args)?.trunc()))),
        Cost::One,
    ),
    (
        "prefixLength",
        &["cidr.()->int"],
        |args| Ok(Value::Int(i64::from(network(args)?.prefix_len()))),
        Cost::One,
    ),
];

fn parse(text: &str) -> Result<IpAddr, EvalError> {
    let address: IpAddr =
        text.parse().map_err(|_| EvalError::failed(format!("IP Address \"{text}\" parse error during conversion from string: ParseAddr(\"{text}\"): unable to parse IP")))?;
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Err(EvalError::failed(format!("IPv4-mapped IPv6 address \"{text}\" is not allowed")))
        }
        other => Ok(other),
    }
}

fn parse_cidr(text: &str) -> Result<IpNet, EvalError> {
    let bad = || {
        EvalError::failed(format!(
            "network address parse error during conversion from string: netip.ParsePrefix(\"{text}\"): no '/'"
        ))
    };
    let (address, _) = text.split_once('/').ok_or_else(bad)?;
    parse(address)?;
    text.parse().map_err(|_| bad())
}

fn address(arguments: &[Value]) -> Result<IpAddr, EvalError> {
    match opaque(arguments, 0)? {
        Opaque::Ip(address) => Ok(*address),
        _ => Err(EvalError::no_overload()),
    }
}

fn network(arguments: &[Value]) -> Result<IpNet, EvalError> {
    match opaque(arguments, 0)? {
        Opaque::Cidr(network) => Ok(*network),
        _ => Err(EvalError::no_overload()),
    }
}

fn ip(arguments: &[Value]) -> Outcome {
    let address = match &arguments[0] {
        Value::String(text) => parse(text)?,
        _ => network(arguments)?.addr(),
    };
    Ok(Value::opaque(Opaque::Ip(address)))
}

fn is_canonical(arguments: &[Value]) -> Outcome {
    let text = text(arguments, 0)?;
    Ok(Value::Bool(parse(text)?.to_string() == text))
}

fn link_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
        IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => is_link_local_6(six),
    }
}

fn is_link_local_6(six: Ipv6Addr) -> bool {
    six.segments()[0] & 0xffc0 == 0xfe80
}

fn global_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(four) if four.is_broadcast());
    !(broadcast
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || link_unicast(address))
}

fn cidr(arguments: &[Value]) -> Outcome {
    Ok(Value::opaque(Opaque::Cidr(parse_cidr(text(arguments, 0)?)?)))
}

fn contains_ip(arguments: &[Value]) -> Outcome {
    let wanted = match &arguments[1] {
        Value::String(text) => parse(text)?,
        _ => address(&arguments[1..])?,
    };
    Ok(Value::Bool(network(arguments)?.contains(&wanted)))
}

fn contains_cidr(arguments: &[Value]) -> Outcome {
    let wanted = match &arguments[1] {
        Value::String(text) => parse_cidr(text)?,
        _ => network(&arguments[1..])?,
    };
    Ok(Value::Bool(network(arguments)?.contains(&wanted)))
}
