//! Flags and boot arguments of the agent, checked once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Parser;

/// Command line. What is absent is taken from the boot arguments (`--cmdline-file`), then from defaults.
#[derive(Debug, Clone, Parser)]
#[command(name = "agent", about = "Bulkhead's node agent: runs pods as microVMs")]
pub struct Args {
    /// File with `bulkhead.*=` words, usually /proc/cmdline.
    #[arg(long)]
    pub cmdline_file: Option<PathBuf>,
    /// API server, https://host:port.
    #[arg(long)]
    pub server: Option<String>,
    /// File with the cluster's CA (PEM).
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
    /// SHA-256 (hex) of the CA's PEM, for a CA fetched from --config-url.
    #[arg(long)]
    pub ca_hash: Option<String>,
    /// Provisioner, http://host:port; serves /ca.crt.
    #[arg(long)]
    pub config_url: Option<String>,
    /// Bootstrap token, id.secret.
    #[arg(long, env = "BULKHEAD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    #[arg(long)]
    pub node_name: Option<String>,
    #[arg(long)]
    pub node_ip: Option<Ipv4Addr>,
    /// Link that carries the node's address; found by the address when absent.
    #[arg(long)]
    pub uplink: Option<String>,
    /// More labels of the node, a=b.
    #[arg(long, value_delimiter = ',')]
    pub node_labels: Vec<String>,
    #[arg(long, default_value = "/var/lib/bulkhead")]
    pub state_dir: PathBuf,
    #[arg(long, default_value = "/run/bulkhead")]
    pub run_dir: PathBuf,
    #[arg(long, default_value = "/var/log/pods")]
    pub log_dir: PathBuf,
    #[arg(long, default_value = "/usr/bin/microvm")]
    pub vmm: PathBuf,
    #[arg(long, default_value = "/usr/lib/bulkhead/vmlinux")]
    pub guest_kernel: PathBuf,
    #[arg(long, default_value = "/usr/lib/bulkhead/guest.cpio")]
    pub guest_initramfs: PathBuf,
    #[arg(long, default_value = "/usr/lib/bulkhead/scratch.ext4")]
    pub scratch_template: PathBuf,
    #[arg(long, default_value = "/sys/fs/cgroup/bulkhead")]
    pub cgroup_root: PathBuf,
    /// Appended to the guest kernel's command line.
    #[arg(long, default_value = "")]
    pub guest_cmdline: String,
    /// First uid of VMM processes; 0 leaves them root and unjailed.
    #[arg(long, default_value_t = 200_000)]
    pub vm_first_uid: u32,
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub vm_seccomp: bool,
    /// Give VMs a serial console, written to <run dir>/pods/<uid>/console.log.
    #[arg(long)]
    pub vm_console: bool,
    /// Registries (host:port) over plain HTTP.
    #[arg(long, value_delimiter = ',')]
    pub insecure_registries: Vec<String>,
    /// REGISTRY=HOST:PORT: where images of a registry are looked for first (docker.io=10.88.0.1:5000).
    #[arg(long, value_delimiter = ',')]
    pub registry_mirrors: Vec<image::Mirror>,
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: ipnet::Ipv4Net,
    #[arg(long, default_value = "10.96.0.10")]
    pub cluster_dns: Ipv4Addr,
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    #[arg(long, default_value_t = 10250)]
    pub port: u16,
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    /// Mebibytes a container without a memory limit counts for.
    #[arg(long, default_value_t = 128)]
    pub unlimited_container_mib: u64,
    /// vCPUs of a pod in which some container has no CPU limit.
    #[arg(long, default_value_t = 1)]
    pub unlimited_vcpus: u32,
    /// Do not run the service proxy and DNS in this agent.
    #[arg(long)]
    pub no_services: bool,
}

/// Where the cluster's CA comes from.
#[derive(Debug, Clone)]
pub enum CaSource {
    File(PathBuf),
    /// Fetched over plain HTTP, believed for its hash.
    Fetched {
        url: String,
        sha256: String,
    },
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: String,
    pub ca: CaSource,
    pub token: Option<String>,
    pub node_name: String,
    pub node_ip: Ipv4Addr,
    pub args: Args,
}

impl Config {
    /// Merges flags and boot arguments.
    ///
    /// # Errors
    /// Everything that is missing, at once.
    pub fn from_args(mut args: Args) -> anyhow::Result<Self> {
        let boot = match &args.cmdline_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                parse_boot_arguments(&text.with_context(|| format!("read {}", path.display()))?)
            }
            None => BTreeMap::new(),
        };
        let from = |flag: Option<String>, key: &str| flag.or_else(|| boot.get(key).cloned());
        let mut missing = Vec::new();
        let server = from(args.server.clone(), "server");
        if server.is_none() {
            missing.push("--server (bulkhead.server)");
        }
        let ca = ca_source(&args, &boot);
        if ca.is_none() {
            missing.push("--ca-file, or --config-url and --ca-hash (bulkhead.config, bulkhead.ca)");
        }
        let node_ip = args.node_ip.or_else(|| boot_address(&boot));
        if node_ip.is_none() {
            missing.push("--node-ip (bulkhead.ip)");
        }
        let (Some(server), Some(ca), Some(node_ip)) = (server, ca, node_ip) else {
            return Err(anyhow!("missing: {}", missing.join(", ")));
        };
        if let Some(list) = boot.get("insecure-registries") {
            let list = list.split(',').filter(|text| !text.is_empty()).map(str::to_owned);
            args.insecure_registries.extend(list);
        }
        if let Some(list) = boot.get("registry-mirrors") {
            for mirror in list.split(',').filter(|text| !text.is_empty()) {
                let parsed = mirror.parse();
                args.registry_mirrors
                    .push(parsed.map_err(|error| anyhow!("registry mirror {mirror}: {error}"))?);
            }
        }
        let node_name = from(args.node_name.clone(), "hostname").map_or_else(host_name, Ok)?;
        let token = from(args.token.clone(), "token");
        Ok(Self { server, ca, token, node_name, node_ip, args })
    }

    /// A path below the state directory.
    #[must_use]
    pub fn state_path(&self, name: &str) -> PathBuf {
        self.args.state_dir.join(name)
    }
}

fn ca_source(args: &Args, boot: &BTreeMap<String, String>) -> Option<CaSource> {
    if let Some(path) = &args.ca_file {
        return Some(CaSource::File(path.clone()));
    }
    let url = args.config_url.clone().or_else(|| boot.get("config").cloned())?;
    let sha256 = args.ca_hash.clone().or_else(|| boot.get("ca").cloned())?;
    Some(CaSource::Fetched { url: format!("{}/ca.crt", url.trim_end_matches('/')), sha256 })
}

fn boot_address(boot: &BTreeMap<String, String>) -> Option<Ipv4Addr> {
    boot.get("ip")?.split('/').next()?.parse().ok()
}

fn host_name() -> anyhow::Result<String> {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").context("read the host name")?;
    Ok(name.trim().to_lowercase())
}

/// `bulkhead.key=value` words.
#[must_use]
pub fn parse_boot_arguments(text: &str) -> BTreeMap<String, String> {
    text.split_whitespace()
        .filter_map(|word| word.strip_prefix("bulkhead."))
        .filter_map(|word| word.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The link that carries an address.
#[must_use]
pub fn link_of(address: Ipv4Addr) -> Option<String> {
    let all = nix::ifaddrs::getifaddrs().ok()?;
    all.into_iter()
        .find(|entry| {
            let ip = entry.address.and_then(|a| a.as_sockaddr_in().map(|a| IpAddr::V4(a.ip())));
            ip == Some(IpAddr::V4(address))
        })
        .map(|entry| entry.interface_name)
}

/// MTU of a link; Ethernet's when it cannot be read.
#[must_use]
pub fn link_mtu(link: &str) -> u32 {
    let path = Path::new("/sys/class/net").join(link).join("mtu");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(1500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_arguments() {
        let boot = parse_boot_arguments(
            "quiet bulkhead.ip=10.88.0.11/24 bulkhead.token=a.b bulkhead.config=http://x:8080 x=y\n",
        );
        assert_eq!(boot_address(&boot), Some(Ipv4Addr::new(10, 88, 0, 11)));
        assert_eq!(boot["token"], "a.b");
        assert_eq!(boot["config"], "http://x:8080");
        assert_eq!(boot.len(), 3);
    }

    #[test]
    fn all_that_is_missing_is_said_at_once() {
        let args = Args::parse_from(["agent"]);
        let error = Config::from_args(args).unwrap_err().to_string();
        for word in ["--server", "--ca-file", "--node-ip"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
