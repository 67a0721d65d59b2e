//! The rack's network namespace: a bridge that stands for the switch, and a way in from the host.

use std::path::Path;

use anyhow::Result;
use builder::exec::{command, run, text};

/// The namespace's name.
pub const NAME: &str = "bulkhead-rack";
/// The switch, and the control plane's address on it.
pub const BRIDGE: &str = "rack0";
pub const CONTROL_PLANE: &str = "10.88.0.1";
/// The rack's network; the host has a route to it.
pub const NETWORK: &str = "10.88.0.0/24";
/// The host's end of the way in.
pub const HOST_LINK: &str = "bulkhead-host";

/// Runs a program inside the namespace.
pub const WITHIN: &[&str] = &["ip", "netns", "exec", NAME];

/// Creates namespace, bridge and link; does nothing where they exist.
pub fn up() -> Result<()> {
    if Path::new("/run/netns").join(NAME).exists() {
        return Ok(());
    }
    ip(&["netns", "add", NAME])?;
    inside(&["link", "set", "lo", "up"])?;
    inside(&["link", "add", BRIDGE, "type", "bridge", "forward_delay", "0"])?;
    inside(&["addr", "add", &format!("{CONTROL_PLANE}/24"), "dev", BRIDGE])?;
    inside(&["link", "set", BRIDGE, "up"])?;
    ip(&["link", "add", HOST_LINK, "type", "veth", "peer", "name", "uplink", "netns", NAME])?;
    ip(&["addr", "add", "10.88.1.1/30", "dev", HOST_LINK])?;
    ip(&["link", "set", HOST_LINK, "up"])?;
    inside(&["addr", "add", "10.88.1.2/30", "dev", "uplink"])?;
    inside(&["link", "set", "uplink", "up"])?;
    inside(&["route", "replace", "default", "via", "10.88.1.1"])?;
    ip(&["route", "replace", NETWORK, "via", "10.88.1.2"])?;
    // The namespace routes between the host and the machines.
    run(command(WITHIN[0], &WITHIN[1..]).args(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]))
        .map(drop)
}

/// Removes all of it.
pub fn down() -> Result<()> {
    if text(&mut command("ip", &["link", "show", HOST_LINK])).is_ok() {
        ip(&["link", "del", HOST_LINK])?;
    }
    if Path::new("/run/netns").join(NAME).exists() {
        ip(&["netns", "del", NAME])?;
    }
    Ok(())
}

/// Adds a tap for a machine's network card to the switch.
pub fn add_tap(name: &str) -> Result<()> {
    if text(&mut command("ip", &["-n", NAME, "link", "show", name])).is_err() {
        inside(&["tuntap", "add", name, "mode", "tap"])?;
    }
    inside(&["link", "set", name, "master", BRIDGE])?;
    inside(&["link", "set", name, "up"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(&mut command("ip", arguments)).map(drop)
}

fn inside(arguments: &[&str]) -> Result<()> {
    run(command("ip", &["-n", NAME]).args(arguments)).map(drop)
}
