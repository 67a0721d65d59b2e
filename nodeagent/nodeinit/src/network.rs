//! One Ethernet card, by its MAC, with a fixed address and a default route. No DHCP: the provisioner decided.
#![allow(unsafe_code, reason = "network configuration ioctls")]

use std::fs;
use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::arguments::{Arguments, parse_mac};

/// A card's driver may need this long to show it.
const CARD_TIMEOUT: Duration = Duration::from_secs(15);

/// Brings up loopback and the card.
pub fn configure(arguments: &Arguments) -> anyhow::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .context("open a socket")?;
    set_up(&socket, "lo").context("bring up lo")?;
    let Some((address, prefix)) = arguments.address else {
        bail!("no address (bulkhead.ip): the network stays down");
    };
    let card = wait_for_card(arguments.mac)?;
    set_address(&socket, &card, libc::SIOCSIFADDR, address).context("set the address")?;
    set_address(&socket, &card, libc::SIOCSIFNETMASK, netmask(prefix)).context("set the mask")?;
    set_up(&socket, &card).with_context(|| format!("bring up {card}"))?;
    if let Some(gateway) = arguments.gateway {
        add_default_route(&socket, gateway).context("add the default route")?;
    }
    eprintln!("nodeinit: {card} has {address}/{prefix}");
    Ok(())
}

fn wait_for_card(mac: Option<[u8; 6]>) -> anyhow::Result<String> {
    let deadline = Instant::now() + CARD_TIMEOUT;
    loop {
        if let Some(card) = find_card(mac) {
            return Ok(card);
        }
        if Instant::now() >= deadline {
            bail!("no network card with MAC {mac:02x?} appeared");
        }
        // interval: drivers register cards some time after their module is loaded; once per boot.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn find_card(mac: Option<[u8; 6]>) -> Option<String> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "lo")
        .collect();
    names.sort();
    names.into_iter().find(|name| {
        let text = fs::read_to_string(format!("/sys/class/net/{name}/address")).unwrap_or_default();
        let own = parse_mac(text.trim());
        match mac {
            Some(_) => own == mac,
            None => own.is_some(),
        }
    })
}

fn netmask(prefix: u8) -> Ipv4Addr {
    let bits = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ipv4Addr::from_bits(bits)
}

fn request(name: &str) -> anyhow::Result<libc::ifreq> {
    // SAFETY: ifreq is plain data for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        bail!("interface name {name} is too long");
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let inet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: sockaddr_in and sockaddr have the same size (16) and any bytes are valid for both.
    unsafe { mem::transmute(inet) }
}

fn set_address(
    socket: &OwnedFd,
    name: &str,
    operation: libc::Ioctl,
    address: Ipv4Addr,
) -> anyhow::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_addr = socket_address(address);
    // SAFETY: the request outlives the call and is what these ioctls read.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), operation, &request) })
}

fn set_up(socket: &OwnedFd, name: &str) -> anyhow::Result<()> {
    let mut request = request(name)?;
    // SAFETY: the kernel fills the flags of this request.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) })?;
    // SAFETY: the kernel has just written the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: as above, read only.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })
}

fn add_default_route(socket: &OwnedFd, gateway: Ipv4Addr) -> anyhow::Result<()> {
    // SAFETY: rtentry is plain data; zero is a valid value of all its fields.
    let mut route: libc::rtentry = unsafe { mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    // SAFETY: the route outlives the call.
    match check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &route) }) {
        Err(error) if error.to_string().contains("File exists") => Ok(()),
        other => other,
    }
}

fn check(result: libc::c_int) -> anyhow::Result<()> {
    if result < 0 { Err(io::Error::last_os_error().into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(netmask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(netmask(32), Ipv4Addr::new(255, 255, 255, 255));
        assert_eq!(netmask(0), Ipv4Addr::new(0, 0, 0, 0));
    }
}
