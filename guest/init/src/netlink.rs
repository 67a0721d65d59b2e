//! The few rtnetlink(7) requests a guest needs, over one blocking socket: no task, no allocation that stays.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// Bytes of the largest reply that is read at once; the kernel fills dumps to at most 32 KiB.
const REPLY_BYTES_MAX: usize = 32 * 1024;
const HEADER_BYTES: usize = 16;
/// IFA_FLAGS of linux/if_addr.h: 32 bits of flags.
const IFA_FLAGS: u16 = 8;
/// RTNH_F_ONLINK of linux/rtnetlink.h.
const RTNH_F_ONLINK: u32 = 4;

/// A socket of family NETLINK_ROUTE.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// An interface as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mac: Vec<u8>,
}

/// What to change of an interface.
#[derive(Debug, Default)]
pub struct LinkChange<'a> {
    pub name: Option<&'a str>,
    pub mtu: Option<u32>,
    pub up: bool,
}

/// A request under construction: header, fixed part, attributes.
struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        Self { kind, flags, body: fixed.to_vec() }
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).expect("attributes here are short");
        self.body.extend(length.to_ne_bytes());
        self.body.extend(kind.to_ne_bytes());
        self.body.extend(value);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        self
    }

    fn encode(&self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + self.body.len()).expect("requests are short");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.body.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(&self.body);
        bytes
    }
}

impl Netlink {
    pub fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All interfaces of this network namespace.
    pub fn list_links(&mut self) -> io::Result<Vec<Link>> {
        let request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &link_header(0, 0, 0));
        let replies = self.exchange(&request)?;
        Ok(replies
            .iter()
            .filter(|(kind, _)| *kind == libc::RTM_NEWLINK)
            .filter_map(|(_, body)| parse_link(body))
            .collect())
    }

    pub fn change_link(&mut self, index: u32, change: &LinkChange<'_>) -> io::Result<()> {
        let up = if change.up { libc::IFF_UP.cast_unsigned() } else { 0 };
        let header = link_header(index, up, up);
        let mut request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header);
        if let Some(name) = change.name {
            let mut bytes = name.as_bytes().to_vec();
            bytes.push(0);
            request = request.attribute(libc::IFLA_IFNAME, &bytes);
        }
        if let Some(mtu) = change.mtu {
            request = request.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        }
        self.exchange(&request).map(drop)
    }

    /// Adds an address, or leaves an equal one.
    pub fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut header = vec![family(address), prefix, 0, 0];
        header.extend(index.to_ne_bytes());
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let bytes = octets(address);
        let mut request = Request::new(libc::RTM_NEWADDR, flags, &header)
            .attribute(libc::IFA_LOCAL, &bytes)
            .attribute(libc::IFA_ADDRESS, &bytes);
        if address.is_ipv6() {
            // The agent assigned it: probing for duplicates would only delay the first packet by a second.
            request = request.attribute(IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes());
        }
        self.exchange(&request).map(drop)
    }

    /// Adds a route, or replaces the one to the same destination.
    pub fn add_route(
        &mut self,
        destination: (IpAddr, u8),
        gateway: Option<IpAddr>,
        index: Option<u32>,
    ) -> io::Result<()> {
        let (address, prefix) = destination;
        let scope = if gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
        let mut header = vec![
            family(address),
            prefix,
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_STATIC,
            scope,
            libc::RTN_UNICAST,
        ];
        // A gateway need not be inside the interface's own prefix.
        let onlink = if gateway.is_some() && index.is_some() { RTNH_F_ONLINK } else { 0 };
        header.extend(onlink.to_ne_bytes());
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let mut request = Request::new(libc::RTM_NEWROUTE, flags, &header);
        if prefix > 0 {
            request = request.attribute(libc::RTA_DST, &octets(address));
        }
        if let Some(gateway) = gateway {
            request = request.attribute(libc::RTA_GATEWAY, &octets(gateway));
        }
        if let Some(index) = index {
            request = request.attribute(libc::RTA_OIF, &index.to_ne_bytes());
        }
        self.exchange(&request).map(drop)
    }

    /// Sends a request and reads to its end: an acknowledgement, an error, or the end of a dump.
    fn exchange(&mut self, request: &Request) -> io::Result<Vec<(u16, Vec<u8>)>> {
        self.sequence += 1;
        let bytes = request.encode(self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), &bytes, &kernel, MsgFlags::empty())?;
        let mut replies = Vec::new();
        let mut buffer = vec![0; REPLY_BYTES_MAX];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (kind, body) in split_messages(&buffer[..length]) {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(replies),
                    libc::NLMSG_ERROR => return finish(body).map(|()| replies),
                    _ => replies.push((kind, body.to_vec())),
                }
            }
        }
    }
}

/// The error number at the start of an acknowledgement is 0 or negative.
fn finish(body: &[u8]) -> io::Result<()> {
    match read_u32(body, 0).unwrap_or(0).cast_signed() {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

fn split_messages(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut messages = Vec::new();
    while let Some(length) = read_u32(bytes, 0).map(|length| length as usize) {
        if length < HEADER_BYTES || length > bytes.len() {
            break;
        }
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        messages.push((kind, &bytes[HEADER_BYTES..length]));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    for field in [index, flags, change] {
        header.extend(field.to_ne_bytes());
    }
    header
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let mut link = Link { index: read_u32(body, 4)?, name: String::new(), mac: Vec::new() };
    let mut rest = body.get(16..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let value = rest.get(4..length)?;
        match u16::from_ne_bytes([rest[2], rest[3]]) {
            libc::IFLA_IFNAME => {
                link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
            }
            libc::IFLA_ADDRESS => link.mac = value.to_vec(),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(link)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).expect("address families here are small")
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_aligned_and_sized() {
        let request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &link_header(3, 1, 1))
            .attribute(3, b"eth0\0");
        let bytes = request.encode(7);
        assert_eq!(read_u32(&bytes, 0).unwrap() as usize, bytes.len());
        assert_eq!(bytes.len(), 16 + 16 + 12);
        assert_eq!(read_u32(&bytes, 8), Some(7));
    }

    #[test]
    fn links_are_parsed() {
        let body = Request::new(0, 0, &link_header(5, 0, 0))
            .attribute(libc::IFLA_IFNAME, b"eth1\0")
            .attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9])
            .body;
        let want = Link { index: 5, name: "eth1".into(), mac: vec![2, 0, 0, 0, 0, 9] };
        assert_eq!(parse_link(&body), Some(want));
    }

    #[test]
    fn this_namespace_has_a_loopback() {
        let links = Netlink::open().unwrap().list_links().unwrap();
        assert!(links.iter().any(|link| link.name == "lo" && link.index == 1));
    }

    #[test]
    fn garbage_ends_the_list() {
        assert!(split_messages(&[1, 0, 0, 0, 0, 0]).is_empty());
        assert!(split_messages(&[]).is_empty());
    }
}
