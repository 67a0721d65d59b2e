//! Gives the pod its interfaces, addresses and routes as it is told: no DHCP, no probing.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use proto::guest::{Interface, Route};

use crate::netlink::{Link, LinkChange, Netlink};

/// Brings `lo` up; the kernel adds 127.0.0.1 and ::1.
pub fn bring_up_loopback() -> Result<()> {
    let up = LinkChange { up: true, ..LinkChange::default() };
    let mut netlink = Netlink::open()?;
    let links = netlink.list_links()?;
    let lo = links.iter().find(|link| link.name == "lo").context("there is no loopback")?;
    netlink.change_link(lo.index, &up)?;
    Ok(())
}

/// Names and configures the interfaces, then adds the routes.
pub fn configure(interfaces: &[Interface], routes: &[Route]) -> Result<()> {
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    let links = netlink.list_links().context("list interfaces")?;
    for interface in interfaces {
        configure_interface(&mut netlink, &links, interface)
            .with_context(|| format!("configure interface {}", interface.name))?;
    }
    let links = netlink.list_links().context("list interfaces")?;
    for route in routes {
        add_route(&mut netlink, &links, route)
            .with_context(|| format!("add route to {}", route.destination))?;
    }
    Ok(())
}

fn configure_interface(netlink: &mut Netlink, links: &[Link], interface: &Interface) -> Result<()> {
    let link = links
        .iter()
        .find(|link| link.mac == interface.mac)
        .with_context(|| format!("no device has the address {:02x?}", interface.mac))?;
    // A name can only change while the interface is down, so it goes first.
    if link.name != interface.name && !interface.name.is_empty() {
        let rename = LinkChange { name: Some(&interface.name), ..LinkChange::default() };
        netlink.change_link(link.index, &rename).context("rename")?;
    }
    let mtu = (interface.mtu > 0).then_some(interface.mtu);
    netlink
        .change_link(link.index, &LinkChange { name: None, mtu, up: true })
        .context("bring up")?;
    for text in &interface.addresses {
        let (address, prefix) = parse_prefix(text)?;
        netlink
            .add_address(link.index, address, prefix)
            .with_context(|| format!("add address {text}"))?;
    }
    Ok(())
}

fn add_route(netlink: &mut Netlink, links: &[Link], route: &Route) -> Result<()> {
    let gateway: Option<IpAddr> = match route.gateway.as_str() {
        "" => None,
        text => Some(text.parse().with_context(|| format!("gateway {text:?}"))?),
    };
    let index = match route.interface.as_str() {
        "" => None,
        name => Some(
            links
                .iter()
                .find(|link| link.name == name)
                .with_context(|| format!("there is no interface {name}"))?
                .index,
        ),
    };
    let destination = parse_destination(&route.destination, gateway)?;
    Ok(netlink.add_route(destination, gateway, index)?)
}

/// "", "default" and a zero prefix mean everything; the family then follows the gateway.
fn parse_destination(text: &str, gateway: Option<IpAddr>) -> Result<(IpAddr, u8)> {
    if text.is_empty() || text == "default" {
        let v6 = gateway.is_some_and(|gateway| gateway.is_ipv6());
        let any = if v6 { "::" } else { "0.0.0.0" };
        return Ok((any.parse().expect("a constant address"), 0));
    }
    parse_prefix(text)
}

fn parse_prefix(text: &str) -> Result<(IpAddr, u8)> {
    let (address, prefix) =
        text.split_once('/').with_context(|| format!("{text:?} has no prefix"))?;
    let address: IpAddr = address.parse().with_context(|| format!("address {text:?}"))?;
    let prefix: u8 = prefix.parse().with_context(|| format!("prefix of {text:?}"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    if prefix > longest {
        bail!("the prefix of {text:?} is longer than {longest}");
    }
    Ok((address, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_parsed() {
        let v6: IpAddr = "fd00::1".parse().unwrap();
        for (text, gateway, want) in [
            ("default", None, ("0.0.0.0", 0)),
            ("", Some(v6), ("::", 0)),
            ("0.0.0.0/0", None, ("0.0.0.0", 0)),
            ("10.96.0.0/16", None, ("10.96.0.0", 16)),
            ("fd00::/64", None, ("fd00::", 64)),
        ] {
            let want = (want.0.parse::<IpAddr>().unwrap(), want.1);
            assert_eq!(parse_destination(text, gateway).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn wrong_prefixes_are_refused() {
        for text in ["10.0.0.1", "10.0.0.1/33", "x/8", "fd00::/129", "10.0.0.1/-1"] {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
    }
}
