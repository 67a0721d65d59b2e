//! Small files and kernel parameters of a node.

use std::fs;

use anyhow::Context;

use crate::arguments::Arguments;

/// Kernel parameters and why.
const SYSCTLS: [(&str, &str); 6] = [
    // Pods' packets are routed between tap bridge, overlay and uplink.
    ("net/ipv4/ip_forward", "1"),
    // Every VM, tap and connection costs files and watches.
    ("fs/file-max", "1048576"),
    ("fs/inotify/max_user_instances", "8192"),
    ("kernel/pid_max", "4194304"),
    // A kernel that is broken restarts; the provisioner boots it again.
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
];

/// Sets the host name.
pub fn name_host(arguments: &Arguments) -> anyhow::Result<()> {
    let Some(name) = &arguments.hostname else { return Ok(()) };
    nix::unistd::sethostname(name).context("set the host name")
}

/// /etc/resolv.conf, /etc/hosts, /etc/hostname and the directories of the agent.
pub fn write(arguments: &Arguments) -> anyhow::Result<()> {
    fs::create_dir_all("/etc").context("make /etc")?;
    let name = arguments.hostname.as_deref().unwrap_or("node");
    put("/etc/hostname", &format!("{name}\n"))?;
    let address = arguments.address.map(|(address, _)| format!("{address} {name}\n"));
    let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{}", address.unwrap_or_default());
    put("/etc/hosts", &hosts)?;
    // Without a server of its own the node asks its gateway's side, if anybody there answers.
    let servers: String =
        arguments.nameservers.iter().map(|server| format!("nameserver {server}\n")).collect();
    put("/etc/resolv.conf", &servers)?;
    for directory in ["/var/lib/bulkhead", "/run/bulkhead/pods", "/var/log/pods"] {
        fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
    }
    Ok(())
}

/// Sets kernel parameters; one that the kernel lacks is skipped.
pub fn set_sysctls() -> anyhow::Result<()> {
    for (name, value) in SYSCTLS {
        if let Err(error) = fs::write(format!("/proc/sys/{name}"), value) {
            eprintln!("nodeinit: {name}: {error}");
        }
    }
    Ok(())
}

fn put(path: &str, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {path}"))
}
