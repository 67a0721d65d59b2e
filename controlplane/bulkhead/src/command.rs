//! The command line of the binary. `server` is here; commands for users of a cluster belong to crate `cli`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;

/// Kubernetes whose every pod is a microVM.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the control plane.
    Server(Box<ServerArguments>),
    #[command(flatten)]
    Client(cli::Command),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreName {
    Embedded,
    Etcd,
}

/// Settings of the control plane.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// Where keys, certificates and the embedded store live.
    #[arg(long, default_value = "/var/lib/bulkhead-server")]
    pub data_dir: PathBuf,
    /// Address to serve on; may be given several times.
    #[arg(long, default_value = "0.0.0.0:6443")]
    pub listen: Vec<SocketAddr>,
    /// The address that nodes and pods reach this server at.
    #[arg(long, default_value = "127.0.0.1")]
    pub advertise_address: IpAddr,
    /// Further name or address of the serving certificate; may be given several times.
    #[arg(long)]
    pub san: Vec<String>,
    /// Admission plugins that are off by default: DenyServiceExternalIPs, EventRateLimit, ExtendedResourceToleration,
    /// OwnerReferencesPermissionEnforcement.
    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// AdmissionConfiguration of apiserver.config.k8s.io/v1 with what EventRateLimit and PodSecurity are told.
    #[arg(long)]
    pub admission_control_config_file: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "embedded")]
    pub store: StoreName,
    #[arg(long, value_delimiter = ',', required_if_eq("store", "etcd"))]
    pub etcd_endpoints: Vec<String>,
    /// Addresses of pods; every node gets a /24 of it.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: Ipv4Net,
    /// Only serve the API: no controllers, no scheduler, no provisioner.
    #[arg(long)]
    pub api_only: bool,
    #[command(flatten)]
    pub serving: crate::serving::ServingArguments,
    #[command(flatten)]
    pub metal: MetalArguments,
}

/// Settings of the bare-metal provisioner. It runs when an interface is named.
#[derive(Debug, Args)]
pub struct MetalArguments {
    /// The interface that machines boot from; DHCP, TFTP and HTTP are served only there.
    #[arg(long, requires_all = ["metal_address", "metal_network", "metal_pool", "metal_images"])]
    pub metal_interface: Option<String>,
    /// This host's address on that interface.
    #[arg(long)]
    pub metal_address: Option<Ipv4Addr>,
    /// The machines' network.
    #[arg(long)]
    pub metal_network: Option<Ipv4Net>,
    /// First and last address for machines that have none in their spec (`10.0.0.11-10.0.0.99`).
    #[arg(long, value_parser = parse_pool)]
    pub metal_pool: Option<(Ipv4Addr, Ipv4Addr)>,
    #[arg(long, default_value_t = 8080)]
    pub metal_http_port: u16,
    /// Folder with `kernel` and `initramfs`.
    #[arg(long)]
    pub metal_images: Option<PathBuf>,
    /// Folder with `undionly.kpxe` and `ipxe.efi`.
    #[arg(long, default_value = "/usr/lib/ipxe")]
    pub metal_tftp_root: PathBuf,
    /// Further kernel arguments for machines.
    #[arg(long, default_value = "")]
    pub metal_kernel_arguments: String,
    /// Let machines that nobody declared join by themselves.
    #[arg(long)]
    pub metal_admit_unknown: bool,
    /// A registry that nodes reach without TLS; may be given several times.
    #[arg(long)]
    pub insecure_registry: Vec<String>,
    /// Where nodes look first for images of a registry, as REGISTRY=HOST:PORT (docker.io=10.88.0.1:5000); may be given several times.
    #[arg(long)]
    pub registry_mirror: Vec<String>,
}

fn parse_pool(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let parts = text.split_once('-').ok_or("write it as FIRST-LAST")?;
    let parse = |part: &str| part.parse::<Ipv4Addr>().map_err(|error| format!("{part}: {error}"));
    let (first, last) = (parse(parts.0)?, parse(parts.1)?);
    if first > last { Err(format!("{first} is behind {last}")) } else { Ok((first, last)) }
}
