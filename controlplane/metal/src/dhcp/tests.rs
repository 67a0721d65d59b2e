//! Tables for the DHCP answers.

use super::*;

fn config() -> Config {
    Config {
        interface: "rack0".into(),
        address: Ipv4Addr::new(10, 88, 0, 1),
        network: "10.88.0.0/24".parse().unwrap(),
        pool: (Ipv4Addr::new(10, 88, 0, 11), Ipv4Addr::new(10, 88, 0, 99)),
        http_port: 8080,
        tftp_root: "/tmp".into(),
        images: "/tmp".into(),
        api_server: "https://10.88.0.1:6443".into(),
        ca_pem: String::new(),
        insecure_registries: Vec::new(),
        registry_mirrors: Vec::new(),
        kernel_arguments: String::new(),
        admit_unknown: false,
    }
}

fn message(kind: MessageType, options: &[DhcpOption]) -> Message {
    let mut message = Message::default();
    message.set_opcode(Opcode::BootRequest).set_chaddr(&[0x52, 0x54, 0, 0x88, 0, 1]);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message
}

fn reply_to(message: &Message) -> Option<Message> {
    answer(&config(), message, &read(message)?, Ipv4Addr::new(10, 88, 0, 11))
}

#[test]
fn firmware_gets_ipxe_and_ipxe_gets_its_script() {
    let bios = DhcpOption::ClientSystemArchitecture(Architecture::X86_Bios);
    let uefi = DhcpOption::ClientSystemArchitecture(Architecture::from(7));
    let ipxe = DhcpOption::UserClass(b"iPXE".to_vec());
    let cases = [
        (vec![bios.clone()], Some("undionly.kpxe")),
        (vec![uefi], Some("ipxe.efi")),
        (vec![bios, ipxe], Some("http://10.88.0.1:8080/boot.ipxe?mac=52:54:00:88:00:01")),
        (vec![], None),
    ];
    for (options, expected) in cases {
        let reply = reply_to(&message(MessageType::Discover, &options)).expect("an offer");
        let file = match reply.opts().get(OptionCode::BootfileName) {
            Some(DhcpOption::BootfileName(name)) => Some(String::from_utf8(name.clone()).unwrap()),
            _ => None,
        };
        assert_eq!(file.as_deref(), expected, "{options:?}");
        assert_eq!(reply.yiaddr(), Ipv4Addr::new(10, 88, 0, 11));
    }
}

#[test]
fn requests_are_acknowledged_refused_or_left_to_another_server() {
    let own = DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 88, 0, 11));
    let other = DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 88, 0, 50));
    let elsewhere = DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 88, 0, 2));
    let cases = [
        (vec![own.clone()], Some(MessageType::Ack)),
        (vec![other], Some(MessageType::Nak)),
        (vec![own, elsewhere], None),
    ];
    for (options, expected) in cases {
        let reply = reply_to(&message(MessageType::Request, &options));
        let kind = reply.and_then(|reply| match reply.opts().get(OptionCode::MessageType) {
            Some(DhcpOption::MessageType(kind)) => Some(*kind),
            _ => None,
        });
        assert_eq!(kind, expected, "{options:?}");
    }
}

#[test]
fn what_is_no_request_is_ignored() {
    let mut reply = message(MessageType::Offer, &[]);
    reply.set_opcode(Opcode::BootReply);
    assert_eq!(read(&reply), None);
    assert!(reply_to(&message(MessageType::Release, &[])).is_none());
}
