//! Boot scripts.

use std::net::Ipv4Addr;

use crate::Config;

/// What one machine needs to know to become a node.
#[derive(Debug, Clone)]
pub struct Boot<'a> {
    pub name: &'a str,
    pub mac: &'a str,
    pub address: Ipv4Addr,
    /// One-time join token (`id.secret`).
    pub token: &'a str,
    /// SHA-256 of the CA certificate's PEM, hexadecimal.
    pub ca_hash: &'a str,
}

/// The script of an admitted machine: node image with the machine's own arguments.
#[must_use]
pub fn boot(config: &Config, boot: &Boot<'_>) -> String {
    let base = format!("http://{}:{}", config.address, config.http_port);
    let arguments = [
        "initrd=initramfs".to_owned(),
        "panic=10".to_owned(),
        config.kernel_arguments.clone(),
        format!("bulkhead.hostname={}", boot.name),
        format!("bulkhead.mac={}", boot.mac),
        format!("bulkhead.ip={}/{}", boot.address, config.network.prefix_len()),
        format!("bulkhead.gw={}", config.address),
        format!("bulkhead.server={}", config.api_server),
        format!("bulkhead.ca={}", boot.ca_hash),
        format!("bulkhead.token={}", boot.token),
        format!("bulkhead.config={base}"),
        format!("bulkhead.insecure-registries={}", config.insecure_registries.join(",")),
        format!("bulkhead.registry-mirrors={}", config.registry_mirrors.join(",")),
    ];
    let arguments: Vec<String> = arguments.into_iter().filter(|text| !text.is_empty()).collect();
    format!(
        "#!ipxe\nkernel {base}/images/kernel {}\ninitrd {base}/images/initramfs\nboot\n",
        arguments.join(" ")
    )
}

/// The script of a machine that may not join (yet): it says so, waits and asks again.
#[must_use]
pub fn wait(config: &Config, mac: &str) -> String {
    let base = format!("http://{}:{}", config.address, config.http_port);
    format!(
        "#!ipxe\necho This machine ({mac}) is not admitted to the cluster.\necho An administrator admits it with: kubectl patch machine NAME --type merge -p '{{\"spec\":{{\"admitted\":true}}}}'\nsleep 15\nchain {base}/boot.ipxe?mac=${{net0/mac}}\n"
    )
}
