//! The command line of the binary. `server` is here; commands for users of a cluster belong to crate `cli`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    #[arg(long, value_enum, default_value = "embedded")]
    pub store: StoreName,
    #[arg(long, value_delimiter = ',', required_if_eq("store", "etcd"))]
    pub etcd_endpoints: Vec<String>,
}
