//! The processes beside the machines: registry and control plane, both inside the rack's namespace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use builder::{debian::Packages, exec, oci};
use indicatif::ProgressBar;
use nix::sys::signal::Signal;
use rack::{netns, process};

use crate::{conformance, paths};

/// The registry as nodes reach it.
pub const REGISTRY: &str = "10.88.0.1:5000";
/// Generous: a busy machine, or one in software emulation.
const START_DEADLINE: Duration = Duration::from_secs(180);

/// The administrator's kubeconfig, with the server's address as this host reaches it.
#[must_use]
pub fn kubeconfig() -> PathBuf {
    data_dir().join("admin.kubeconfig")
}

/// The control plane's data.
#[must_use]
pub fn data_dir() -> PathBuf {
    paths::state().join("server")
}

fn pid_file(name: &str) -> PathBuf {
    paths::state().join(format!("{name}.pid"))
}

/// Makes the namespace, starts Debian's registry in it and, unless its storage is full already, fills it.
pub fn start_registry(fill: bool, bar: &ProgressBar) -> Result<String> {
    netns::up()?;
    let state = paths::state();
    let storage = paths::cache().join("registry");
    fs::create_dir_all(&state)?;
    fs::create_dir_all(&storage)?;
    if !process::alive(&pid_file("registry")) {
        start_registry_process(&state, &storage)?;
    }
    if !fill {
        return Ok("filled before".into());
    }
    let packages = Packages::of_this_machine(&paths::cache());
    for recipe in oci::RECIPES {
        bar.set_message(format!("push {}", recipe.name));
        oci::push(
            &oci::build(recipe, &packages, &oci::Programs::new(), &paths::cache())?,
            REGISTRY,
            netns::WITHIN,
        )?;
    }
    Ok(String::new())
}

fn start_registry_process(state: &Path, storage: &Path) -> Result<()> {
    let config = state.join("registry.yml");
    fs::write(
        &config,
        format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {REGISTRY}}}\n",
            storage.display()
        ),
    )?;
    start("registry", &["docker-registry", "serve", &config.to_string_lossy()])?;
    wait_for("the registry", || answers(REGISTRY))
}

/// Starts `bulkhead server` in the namespace and waits until it is ready.
pub fn start_server(bar: &ProgressBar) -> Result<String> {
    if process::alive(&pid_file("server")) {
        return Ok("runs already".into());
    }
    let server = paths::binaries("release").join("bulkhead");
    start(
        "server",
        &server_arguments(&server.to_string_lossy()).iter().map(String::as_str).collect::<Vec<_>>(),
    )?;
    bar.set_message("waiting for /readyz");
    wait_for("the control plane", || is_ready(&server))?;
    Ok(String::new())
}

/// The command line of the rack's control plane.
#[must_use]
pub fn server_arguments(server: &str) -> Vec<String> {
    let own = netns::CONTROL_PLANE;
    let kernel_arguments = format!(
        "console=ttyS0 quiet loglevel=4 mitigations=off bulkhead.debug-shell=ttyS1 {}",
        rack::host::examine().accelerator.kernel_arguments()
    );
    let (data, images) = (data_dir(), paths::images());
    let (data, images) = (data.to_string_lossy(), images.to_string_lossy());
    let arguments = [
        server,
        "server",
        "--data-dir",
        &data,
        "--listen",
        "0.0.0.0:6443",
        "--advertise-address",
        own,
        "--san",
        own,
        "--san",
        "127.0.0.1",
        "--metal-interface",
        netns::BRIDGE,
        "--metal-address",
        own,
        "--metal-network",
        netns::NETWORK,
        "--metal-pool",
        "10.88.0.11-10.88.0.99",
        "--metal-images",
        &images,
        "--metal-tftp-root",
        "/usr/lib/ipxe",
        "--metal-kernel-arguments",
        &kernel_arguments,
        "--insecure-registry",
        REGISTRY,
    ];
    let mirrors = mirrors().into_iter().flat_map(|one| ["--registry-mirror".into(), one]);
    arguments.iter().map(|&one| one.to_owned()).chain(mirrors).collect()
}

/// The rack's registry has what tests and users of the rack know from Docker's and Kubernetes' own.
#[must_use]
pub fn mirrors() -> [String; 2] {
    ["docker.io", conformance::MIRRORED].map(|registry| format!("{registry}={REGISTRY}"))
}

/// Stops registry and control plane.
pub fn stop_all() -> Result<()> {
    for name in ["server", "registry"] {
        process::stop(&pid_file(name), Signal::SIGTERM)?;
    }
    Ok(())
}

/// Kills the control plane as a power cut would.
pub fn kill_server() -> Result<()> {
    process::stop(&pid_file("server"), Signal::SIGKILL)
}

/// The control plane's process.
#[must_use]
pub fn server_pid() -> Option<nix::unistd::Pid> {
    process::running(&pid_file("server"))
}

/// Whether a TCP port of the rack's network accepts; this host has a route to it.
fn answers(address: &str) -> bool {
    let Ok(address) = address.parse() else { return false };
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}

fn is_ready(server: &Path) -> bool {
    kubeconfig().exists()
        && exec::run(
            Command::new(server)
                .args(["get", "namespace", "default"])
                .env("KUBECONFIG", kubeconfig()),
        )
        .is_ok()
}

/// Starts a process in the namespace, detached, with its log in the state folder.
fn start(name: &str, words: &[&str]) -> Result<()> {
    let log = paths::state().join(format!("{name}.log"));
    let file = fs::File::options().create(true).append(true).open(&log)?;
    let mut command = Command::new(netns::WITHIN[0]);
    command
        .args(&netns::WITHIN[1..])
        .args(words)
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    process::start_detached(&mut command, &pid_file(name))
        .with_context(|| format!("failed to start {name}"))?;
    Ok(())
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    while !ready() {
        if Instant::now() > deadline {
            bail!(
                "{what} is not ready after {} s; its log is in {}",
                START_DEADLINE.as_secs(),
                paths::state().display()
            );
        }
        // interval: another program's start; its readiness has no event that reaches us.
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
