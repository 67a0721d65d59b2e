//! `cargo xtask up`: from a fresh machine to pods in microVMs on PXE-booted nodes.

mod artifacts;
mod cluster;
mod demo;
pub mod services;

use anyhow::Result;
pub use artifacts::build_guest_kernel;
use rack::{host, machine::Machine};

use crate::{paths, progress::Stages};

/// What `up` can be told.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Servers in the rack.
    #[arg(long, default_value_t = 2)]
    pub nodes: u8,
    /// Memory of one server.
    #[arg(long, default_value_t = 4096)]
    pub memory_mib: u32,
    /// Processors of one server; 2, or 1 in software emulation.
    #[arg(long)]
    pub cpus: Option<u32>,
    /// Boot pods with Debian's cloud kernel instead of building our own (faster the first time; pods start slower).
    #[arg(long)]
    pub prebuilt_kernel: bool,
    /// Take the release binaries as they are.
    #[arg(long)]
    pub skip_build: bool,
    /// Leave the demo out.
    #[arg(long)]
    pub no_demo: bool,
}

/// Packages that the host needs.
pub const PACKAGES: &[&str] = &[
    "bc",
    "bison",
    "build-essential",
    "busybox-static",
    "cpio",
    "docker-registry",
    "e2fsprogs",
    "flex",
    "ipxe",
    "ipxe-qemu",
    "iproute2",
    "erofs-utils",
    "etcd-server",
    "kmod",
    "libelf-dev",
    "libprotobuf-dev",
    "libssl-dev",
    "linux-source-6.12",
    "nftables",
    "protobuf-compiler",
    "qemu-system-x86",
    "skopeo",
    "xz-utils",
    "zstd",
];

/// Brings everything up; what is up already is left alone.
pub fn run(options: &Options) -> Result<()> {
    let finding = host::examine();
    println!("virtual machines run in {}: {}", describe(finding.accelerator), finding.reason);
    let mut stages = Stages::new(if options.no_demo { 9 } else { 10 });
    stages.run("packages", |_| {
        let added = builder::debian::install_on_host(PACKAGES)?;
        Ok(if added.is_empty() { "all there".into() } else { format!("installed {}", added.len()) })
    })?;
    stages.run("release build", |bar| {
        if options.skip_build {
            return Ok("skipped, as asked".into());
        }
        artifacts::build_binaries(bar)
    })?;
    stages.run("guest kernel", |bar| artifacts::guest_kernel(options.prebuilt_kernel, bar))?;
    stages.run("guest initramfs", |_| artifacts::guest_initramfs())?;
    stages.run("node image", |_| artifacts::node_image())?;
    stages.run("demo images", artifacts::demo_images)?;
    stages.run("network and registry", services::start_registry)?;
    stages.run("control plane", |bar| services::start_server(bar))?;
    let machines = machines(options);
    stages
        .run("rack: PXE boot and join", |bar| cluster::boot(&machines, finding.accelerator, bar))?;
    if !options.no_demo {
        stages.run("demo", demo::run)?;
    }
    stages.print_table();
    print_next_steps(&machines);
    Ok(())
}

/// The rack's servers.
#[must_use]
pub fn machines(options: &Options) -> Vec<Machine> {
    let cpus = options.cpus.unwrap_or_else(|| host::examine().accelerator.processors());
    (1..=options.nodes)
        .map(|index| Machine {
            name: format!("node-{index}"),
            index,
            memory_mib: options.memory_mib,
            cpus,
        })
        .collect()
}

/// `cargo xtask down`: removes all that `up` made on this host; caches stay.
pub fn down() -> Result<()> {
    cluster::power_off_all()?;
    services::stop_all()?;
    rack::netns::down()?;
    let state = paths::state();
    if state.exists() {
        std::fs::remove_dir_all(state)?;
    }
    println!(
        "removed machines, control plane, registry, network namespace and their state; caches are kept"
    );
    Ok(())
}

fn describe(accelerator: host::Accelerator) -> &'static str {
    match accelerator {
        host::Accelerator::Kvm => "hardware virtualization",
        host::Accelerator::Emulation => "software emulation (slower, otherwise identical)",
    }
}

fn print_next_steps(machines: &[Machine]) {
    let kubeconfig = services::kubeconfig();
    println!(
        "\nrunning: control plane https://{}:6443, registry {}:5000 (for nodes), machines:",
        rack::netns::CONTROL_PLANE,
        rack::netns::CONTROL_PLANE
    );
    for machine in machines {
        println!(
            "  {} {} (console: {})",
            machine.name,
            machine.address(),
            machine.console(&paths::state()).display()
        );
    }
    println!("\ntry next:\n  export KUBECONFIG={}", kubeconfig.display());
    println!("  export PATH={}:$PATH", paths::binaries("release").display());
    println!("  bulkhead get pods -o wide          # or kubectl, unmodified");
    println!("  bulkhead get machines,nodes");
    println!("  bulkhead exec deploy/web -- uname -r");
    println!("\ncargo xtask down removes it all.");
}
