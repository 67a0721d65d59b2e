//! DHCPv4 for machines that boot from the network (RFC 2131; options: RFC 2132, 4578 client architecture, 3004 user class).
//!
//! Addresses are reservations: a machine keeps its address for ever, a lease only makes clients ask again.

use std::net::{Ipv4Addr, SocketAddr};

use dhcproto::{
    Decodable, Decoder, Encodable,
    v4::{Architecture, DhcpOption, Flags, Message, MessageType, Opcode, OptionCode},
};
use tokio::{net::UdpSocket, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Config, Error, controller::Report, inventory::Inventory, state::Sight};

/// Seconds of a lease.
const LEASE_SECONDS: u32 = 24 * 3600;
/// The largest request that is read.
const PACKET_MAX: usize = 1500;

/// A decoded request, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub mac: String,
    pub kind: MessageType,
    /// `BIOS` or `UEFI`.
    pub firmware: &'static str,
    /// The client is iPXE and can fetch scripts over HTTP.
    pub is_ipxe: bool,
    /// A network boot, not a running system.
    pub is_boot: bool,
}

/// Reads what matters from a message; `None` for what is no request of an Ethernet client.
#[must_use]
pub fn read(message: &Message) -> Option<Request> {
    if message.opcode() != Opcode::BootRequest || message.chaddr().len() != 6 {
        return None;
    }
    let options = message.opts();
    let Some(DhcpOption::MessageType(kind)) = options.get(OptionCode::MessageType) else {
        return None;
    };
    let architecture = match options.get(OptionCode::ClientSystemArchitecture) {
        Some(DhcpOption::ClientSystemArchitecture(architecture)) => Some(*architecture),
        _ => None,
    };
    let is_ipxe = match options.get(OptionCode::UserClass) {
        Some(DhcpOption::UserClass(class)) => class.windows(4).any(|window| window == b"iPXE"),
        _ => false,
    };
    let firmware = match architecture {
        None | Some(Architecture::X86_Bios) => "BIOS",
        Some(_) => "UEFI",
    };
    let mac: Vec<String> = message.chaddr().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Request {
        mac: mac.join(":"),
        kind: *kind,
        firmware,
        is_ipxe,
        is_boot: architecture.is_some() || is_ipxe,
    })
}

/// The answer to a request, for the address that the machine has.
#[must_use]
pub fn answer(
    config: &Config,
    message: &Message,
    request: &Request,
    address: Ipv4Addr,
) -> Option<Message> {
    let kind = match request.kind {
        MessageType::Discover => MessageType::Offer,
        MessageType::Request if asks_other_server(config, message) => return None,
        MessageType::Request if asks_other_address(message, address) => MessageType::Nak,
        MessageType::Request => MessageType::Ack,
        MessageType::Inform => MessageType::Ack,
        _ => return None,
    };
    let mut reply = Message::default();
    reply
        .set_opcode(Opcode::BootReply)
        .set_xid(message.xid())
        .set_flags(Flags::default().set_broadcast())
        .set_giaddr(message.giaddr())
        .set_chaddr(message.chaddr());
    let nak = kind == MessageType::Nak;
    let options = reply.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(config.address));
    if nak {
        return Some(reply);
    }
    options.insert(DhcpOption::AddressLeaseTime(LEASE_SECONDS));
    options.insert(DhcpOption::SubnetMask(config.network.netmask()));
    options.insert(DhcpOption::Router(vec![config.address]));
    if request.is_boot {
        let file = boot_file(config, request);
        options.insert(DhcpOption::TFTPServerName(config.address.to_string().into_bytes()));
        options.insert(DhcpOption::BootfileName(file.clone().into_bytes()));
        reply.set_fname_str(&file);
    }
    reply.set_yiaddr(address).set_siaddr(config.address);
    Some(reply)
}

/// iPXE gets its script; other firmware gets iPXE.
fn boot_file(config: &Config, request: &Request) -> String {
    match (request.is_ipxe, request.firmware) {
        (true, _) => {
            format!("http://{}:{}/boot.ipxe?mac={}", config.address, config.http_port, request.mac)
        }
        (false, "UEFI") => "ipxe.efi".into(),
        (false, _) => "undionly.kpxe".into(),
    }
}

fn asks_other_server(config: &Config, message: &Message) -> bool {
    matches!(
        message.opts().get(OptionCode::ServerIdentifier),
        Some(DhcpOption::ServerIdentifier(server)) if *server != config.address
    )
}

fn asks_other_address(message: &Message, address: Ipv4Addr) -> bool {
    match message.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(wanted)) => *wanted != address,
        _ => !message.ciaddr().is_unspecified() && message.ciaddr() != address,
    }
}

/// Serves DHCP on the configured interface until shutdown.
pub(crate) async fn run(
    config: Config,
    inventory: Inventory,
    reports: mpsc::Sender<Report>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let socket = listen(&config)?;
    info!(interface = config.interface, "serving DHCP");
    let mut packet = [0_u8; PACKET_MAX];
    loop {
        let received = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            received = socket.recv_from(&mut packet) => received,
        };
        let Ok((length, _from)) = received else { continue };
        let Ok(message) = Message::decode(&mut Decoder::new(&packet[..length])) else {
            debug!("a datagram that is no DHCP message");
            continue;
        };
        if let Some(reply) = handle(&config, &inventory, &reports, &message).await {
            send(&socket, &reply).await;
        }
    }
}

async fn handle(
    config: &Config,
    inventory: &Inventory,
    reports: &mpsc::Sender<Report>,
    message: &Message,
) -> Option<Message> {
    let request = read(message)?;
    if inventory.find(&request.mac).is_none() {
        // The controller makes a Machine of it; the client asks again within seconds.
        let report = Report {
            mac: request.mac.clone(),
            sight: Sight::Dhcp { firmware: request.firmware.into() },
        };
        reports.send(report).await.ok()?;
        return None;
    }
    let address = inventory.assign(&request.mac, config.pool)?;
    if request.is_boot && request.kind == MessageType::Discover {
        let sight = Sight::Dhcp { firmware: request.firmware.into() };
        reports.send(Report { mac: request.mac.clone(), sight }).await.ok()?;
    }
    let reply = answer(config, message, &request, address);
    debug!(mac = request.mac, kind = ?request.kind, %address, answered = reply.is_some(), "DHCP");
    reply
}

async fn send(socket: &UdpSocket, reply: &Message) {
    let relay = reply.giaddr();
    let to = if relay.is_unspecified() {
        SocketAddr::from((Ipv4Addr::BROADCAST, 68))
    } else {
        SocketAddr::from((relay, 67))
    };
    match reply.to_vec() {
        Ok(bytes) => {
            if let Err(error) = socket.send_to(&bytes, to).await {
                warn!(%to, %error, "failed to send a DHCP answer");
            }
        }
        Err(error) => warn!(%error, "failed to encode a DHCP answer"),
    }
}

fn listen(config: &Config) -> Result<UdpSocket, Error> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 67));
    let open = || -> std::io::Result<UdpSocket> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(config.interface.as_bytes()))?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|source| Error::Listen { service: "DHCP", address, source })
}

#[cfg(test)]
mod tests;
