//! `up --local`: this host as the cluster's node. The node agent runs here, in a network namespace of its own that is
//! joined to the rack's switch, and pods are microVMs directly on this host's processor.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use builder::exec::{command, run, text};
use indicatif::ProgressBar;
use nix::sys::signal::Signal;
use rack::{host::Finding, netns, process};

use super::{artifacts, services};
use crate::{kube, paths};

/// The node's name.
pub const NODE: &str = "local";
/// Its address on the rack's network: before those that the provisioner gives away.
pub const ADDRESS: &str = "10.88.0.9";
const NAMESPACE: &str = "bulkhead-local";
/// Ends of the cable between the namespace and the switch.
const CARD: &str = "card0";
const PORT: &str = "rack-local";
/// Sockets: a short path, for the system bounds it.
const RUN_DIR: &str = "/run/bulkhead-local";
const CGROUPS: &str = "/sys/fs/cgroup";
const CGROUP: &str = "bulkhead-local";
const JOIN_DEADLINE: Duration = Duration::from_secs(180);
/// What one pod may write at most; holes cost nothing.
const SCRATCH: &str = "4G";

/// Refuses with one line where pods cannot be VMs on this host itself.
pub fn check(finding: &Finding) -> Result<()> {
    match &finding.local {
        Ok(()) => Ok(()),
        Err(why) => bail!("up --local needs hardware virtualization: {why}"),
    }
}

/// Joins this host to the cluster and waits until it is Ready.
pub fn join(bar: &ProgressBar) -> Result<String> {
    plug_in()?;
    let folders = Folders::of(&paths::state());
    for folder in [&folders.state, &folders.logs, &PathBuf::from(RUN_DIR)] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    format_scratch(&folders.scratch)?;
    if !process::alive(&pid_file()) {
        let token = kube::run(&["token", "create"])?;
        start_agent(&folders, token.trim())?;
    }
    bar.set_message("waiting for the node to be Ready");
    wait_until_ready()?;
    Ok(format!("node {NODE} at {ADDRESS}"))
}

/// Ends the agent and every VM, and removes the namespace.
pub fn leave() -> Result<()> {
    process::stop(&pid_file(), Signal::SIGTERM)?;
    let cgroup = Path::new(CGROUPS).join(CGROUP);
    if cgroup.exists() {
        // Running VMs belong to no agent; their group names them all.
        fs::write(cgroup.join("cgroup.kill"), "1").context("kill local VMs")?;
        remove_groups(&cgroup)?;
    }
    if Path::new("/run/netns").join(NAMESPACE).exists() {
        run(&mut command("ip", &["netns", "del", NAMESPACE]))?;
    }
    if Path::new(RUN_DIR).exists() {
        fs::remove_dir_all(RUN_DIR)?;
    }
    Ok(())
}

/// Processes that were killed leave their groups a moment later.
fn remove_groups(root: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let children = fs::read_dir(root)?.flatten().filter(|entry| entry.path().is_dir());
        for child in children {
            let _busy = fs::remove_dir(child.path());
        }
        match fs::remove_dir(root) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("remove {}", root.display()));
            }
            // interval: the kernel's teardown of killed processes; nothing tells when all are gone.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Where the local node keeps things, below the rack's state.
struct Folders {
    state: PathBuf,
    logs: PathBuf,
    scratch: PathBuf,
}

impl Folders {
    fn of(state: &Path) -> Self {
        let own = state.join(NODE);
        Self { logs: own.join("logs"), scratch: own.join("scratch.ext4"), state: own.join("state") }
    }
}

fn pid_file() -> PathBuf {
    paths::state().join("agent.pid")
}

/// The namespace and its cable to the switch.
fn plug_in() -> Result<()> {
    if Path::new("/run/netns").join(NAMESPACE).exists() {
        return Ok(());
    }
    let ip = |words: &[&str]| run(&mut command("ip", words)).map(drop);
    ip(&["netns", "add", NAMESPACE])?;
    ip(&[
        "link",
        "add",
        CARD,
        "netns",
        NAMESPACE,
        "type",
        "veth",
        "peer",
        "name",
        PORT,
        "netns",
        netns::NAME,
    ])?;
    ip(&["-n", netns::NAME, "link", "set", PORT, "master", netns::BRIDGE, "up"])?;
    ip(&["-n", NAMESPACE, "link", "set", "lo", "up"])?;
    ip(&["-n", NAMESPACE, "addr", "add", &format!("{ADDRESS}/24"), "dev", CARD])?;
    ip(&["-n", NAMESPACE, "link", "set", CARD, "up"])?;
    ip(&["-n", NAMESPACE, "route", "add", "default", "via", netns::CONTROL_PLANE])
}

/// An empty file system that each pod gets a copy of. No journal: the disk dies with its pod.
fn format_scratch(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    run(command("mke2fs", &["-q", "-F", "-t", "ext4", "-m", "0"])
        .args(["-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard"])
        .arg(&partial)
        .arg(SCRATCH))?;
    fs::rename(&partial, path).context("publish the scratch template")
}

fn start_agent(folders: &Folders, token: &str) -> Result<()> {
    for controller in ["+memory", "+cpu", "+pids", "+io"] {
        // A controller that is missing only costs its limit.
        let _missing = fs::write(Path::new(CGROUPS).join("cgroup.subtree_control"), controller);
    }
    let log = paths::state().join("agent.log");
    let file = fs::File::options().create(true).append(true).open(&log)?;
    // `ip netns exec` gives the process a /sys that shows the namespace's links, and nothing mounted in it.
    let script = format!("mount -t cgroup2 cgroup2 {CGROUPS} && exec \"$@\"");
    let mut agent = Command::new("ip");
    agent
        .args(["netns", "exec", NAMESPACE, "sh", "-c", &script, "sh"])
        .arg(paths::binaries("release").join("agent"))
        .args(agent_arguments(folders))
        .env("BULKHEAD_TOKEN", token)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    process::start_detached(&mut agent, &pid_file()).context("failed to start the node agent")
}

fn agent_arguments(folders: &Folders) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let words = [
        ("--server", format!("https://{}:6443", netns::CONTROL_PLANE)),
        ("--ca-file", path(&services::data_dir().join("pki/ca.crt"))),
        ("--node-name", NODE.to_owned()),
        ("--node-ip", ADDRESS.to_owned()),
        ("--state-dir", path(&folders.state)),
        ("--run-dir", RUN_DIR.to_owned()),
        ("--log-dir", path(&folders.logs)),
        ("--vmm", path(&paths::binaries("release").join("microvm"))),
        ("--guest-kernel", path(&artifacts::kernel_path())),
        ("--guest-initramfs", path(&artifacts::guest_path())),
        ("--scratch-template", path(&folders.scratch)),
        ("--cgroup-root", format!("{CGROUPS}/{CGROUP}")),
        ("--insecure-registries", services::REGISTRY.to_owned()),
        ("--registry-mirrors", services::mirrors().join(",")),
    ];
    words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

fn wait_until_ready() -> Result<()> {
    let deadline = Instant::now() + JOIN_DEADLINE;
    let condition = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    while text(&mut kube::command(&["get", "node", NODE, "-o", condition])).unwrap_or_default()
        != "True"
    {
        if !process::alive(&pid_file()) {
            bail!("the node agent has ended; see {}", paths::state().join("agent.log").display());
        }
        if Instant::now() > deadline {
            bail!("the node is not Ready after {} s", JOIN_DEADLINE.as_secs());
        }
        // interval: progress for a person; the node joins within seconds.
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rack::host::Accelerator;

    #[test]
    fn a_host_without_virtualization_is_refused_in_one_line() {
        let finding =
            |local| Finding { accelerator: Accelerator::Emulation, reason: String::new(), local };
        assert!(check(&finding(Ok(()))).is_ok());
        let refusal = check(&finding(Err("the CPU shows neither vmx nor svm".into()))).unwrap_err();
        let refusal = format!("{refusal:#}");
        assert_eq!(refusal.lines().count(), 1);
        assert!(refusal.ends_with("neither vmx nor svm"), "{refusal}");
    }

    #[test]
    fn the_agent_gets_folders_of_its_own() {
        let folders = Folders::of(Path::new("/r/.rack"));
        let arguments = agent_arguments(&folders);
        for value in ["/r/.rack/local/state", "/r/.rack/local/logs", RUN_DIR, "local", ADDRESS] {
            assert!(arguments.iter().any(|argument| argument == value), "{value}: {arguments:?}");
        }
    }
}
