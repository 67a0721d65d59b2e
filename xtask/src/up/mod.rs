//! `cargo xtask up`: from a fresh machine to pods in microVMs on PXE-booted nodes.

pub mod artifacts;
mod cluster;
mod demo;
pub mod local;
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
    /// No rack: run the node agent on this host, and pods as microVMs directly on its processor.
    #[arg(long, conflicts_with = "nodes")]
    pub local: bool,
    /// Replicas of the demo.
    #[arg(long, default_value_t = 3)]
    pub demo_replicas: u8,
    /// Build, download and push nothing: all that is there (the tests in an emulated machine).
    #[arg(long, hide = true, requires = "local")]
    pub prepared: bool,
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
    if options.local {
        local::check(&finding)?;
    }
    println!("virtual machines run in {}: {}", describe(&finding, options.local), finding.reason);
    let mut stages = Stages::new(count_stages(options));
    if !options.prepared {
        prepare(options, &mut stages)?;
    }
    stages.run("network and registry", |bar| services::start_registry(!options.prepared, bar))?;
    stages.run("control plane", |bar| services::start_server(bar))?;
    let machines = if options.local { Vec::new() } else { machines(options) };
    let node = if options.local {
        stages.run("this host as a node", local::join)?;
        local::ADDRESS.to_owned()
    } else {
        let boot = |bar: &_| cluster::boot(&machines, finding.accelerator, bar);
        stages.run("rack: PXE boot and join", boot)?;
        machines.first().map(Machine::address).unwrap_or_default()
    };
    if !options.no_demo {
        stages.run("demo", |bar| demo::run(&node, options.demo_replicas, bar))?;
    }
    stages.print_table();
    print_next_steps(&machines);
    Ok(())
}

fn count_stages(options: &Options) -> usize {
    let prepare = match (options.prepared, options.local) {
        (true, _) => 0,
        (false, true) => 5,
        (false, false) => 6,
    };
    prepare + 3 + usize::from(!options.no_demo)
}

/// Everything that is built or downloaded.
fn prepare(options: &Options, stages: &mut Stages) -> Result<()> {
    let prebuilt = options.prebuilt_kernel;
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
    stages.run("guest kernel", |bar| artifacts::guest_kernel(prebuilt, bar))?;
    stages.run("guest initramfs", |_| artifacts::guest_initramfs(prebuilt))?;
    if !options.local {
        stages.run("node image", |_| artifacts::node_image())?;
    }
    stages.run("demo images", artifacts::demo_images)
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
    local::leave()?;
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

fn describe(finding: &host::Finding, local: bool) -> &'static str {
    match finding.accelerator {
        _ if local => "hardware virtualization, directly on this host",
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
    if machines.is_empty() {
        println!("  this host, as node {} at {}", local::NODE, local::ADDRESS);
    }
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
