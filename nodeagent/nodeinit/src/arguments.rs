//! The kernel command line's `bulkhead.*` words.

use std::net::Ipv4Addr;

/// What the provisioner told this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    pub hostname: Option<String>,
    /// Six bytes; finds the card to configure. Absent: the first Ethernet card.
    pub mac: Option<[u8; 6]>,
    pub address: Option<(Ipv4Addr, u8)>,
    pub gateway: Option<Ipv4Addr>,
    pub nameservers: Vec<Ipv4Addr>,
    /// Serial line (`ttyS1`) on which tests get a shell. Absent: no shell.
    pub debug_shell: Option<String>,
}

/// Reads the words; what cannot be understood is left out.
#[must_use]
pub fn parse(text: &str) -> Arguments {
    let mut out = Arguments::default();
    for word in text.split_whitespace() {
        let Some((key, value)) = word.strip_prefix("bulkhead.").and_then(|w| w.split_once('='))
        else {
            continue;
        };
        match key {
            "hostname" => out.hostname = Some(value.to_owned()),
            "mac" => out.mac = parse_mac(value),
            "ip" => out.address = parse_address(value),
            "gw" => out.gateway = value.parse().ok(),
            "dns" => {
                out.nameservers = value.split(',').filter_map(|one| one.parse().ok()).collect()
            }
            "debug-shell" => out.debug_shell = Some(value.to_owned()),
            _ => {}
        }
    }
    out
}

/// "52:54:00:12:34:56", also with dashes.
#[must_use]
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = text.split([':', '-']).map(|part| u8::from_str_radix(part, 16).ok());
    let mut mac = [0; 6];
    for byte in &mut mac {
        *byte = bytes.next()??;
    }
    bytes.next().is_none().then_some(mac)
}

fn parse_address(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some((address.parse().ok()?, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let arguments = parse(
            "initrd=x bulkhead.ip=10.88.0.11/24 bulkhead.gw=10.88.0.1 bulkhead.hostname=node-1 bulkhead.mac=52:54:00:12:34:56 bulkhead.token=a.b",
        );
        assert_eq!(arguments.address, Some((Ipv4Addr::new(10, 88, 0, 11), 24)));
        assert_eq!(arguments.gateway, Some(Ipv4Addr::new(10, 88, 0, 1)));
        assert_eq!(arguments.mac, Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!(arguments.hostname.as_deref(), Some("node-1"));
        assert_eq!(arguments.debug_shell, None, "no shell unless it is asked for");
        let asked = parse("quiet bulkhead.debug-shell=ttyS1");
        assert_eq!(asked.debug_shell.as_deref(), Some("ttyS1"));
        assert_eq!(parse("bulkhead.ip=x bulkhead.mac=1:2"), Arguments::default());
    }
}
