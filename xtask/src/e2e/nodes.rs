//! Nodes: booted from the network, joined, Ready.

use std::fs;

use anyhow::{Context, Result, ensure};
use rack::machine::Machine;
use serde_json::Value;

use super::{scene::Scene, waiting::RECOVERY};
use crate::paths;

/// Phases that a machine walks through, as the provisioner's log names them.
const WAY: [&str; 5] = ["Discovered", "Booting", "Loading", "Joining", "Ready"];

/// Machines without disks PXE-booted; their nodes are Ready for every kubectl.
pub fn booted_and_ready(scene: &Scene<'_>) -> Result<()> {
    for machine in &scene.world.machines {
        let name = &machine.name;
        scene.world.kubectl().wait(&format!("node/{name}"), "condition=Ready", RECOVERY)?;
        no_disk(scene, machine)?;
        provisioned(scene, machine)?;
        runs_the_node_image(scene, machine)?;
    }
    for kubectl in scene.kubectls() {
        let table = kubectl.run(&["get", "nodes", "-o", "wide"])?;
        let ready = table.lines().filter(|line| line.contains(" Ready ")).count();
        ensure!(ready >= scene.world.machines.len(), "kubectl get nodes shows:\n{table}");
        scene.proves(format!("kubectl {} get nodes -o wide:\n{table}", kubectl.version));
    }
    Ok(())
}

/// QEMU's own arguments: a network card to boot from, no disk, no kernel.
fn no_disk(scene: &Scene<'_>, machine: &Machine) -> Result<()> {
    let name = &machine.name;
    let pid = fs::read_to_string(paths::state().join(format!("{name}.pid")))?;
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim()))
        .with_context(|| format!("{name} is off"))?
        .replace('\0', " ");
    for other_way in ["-drive", "-blockdev", "-hda", "-cdrom", "-kernel", "-initrd"] {
        ensure!(!arguments.contains(other_way), "{name} has {other_way}");
    }
    let card = arguments.split_whitespace().find(|word| word.contains("bootindex=1"));
    let card = card.with_context(|| format!("{name} does not boot from its network card"))?;
    scene.proves(format!("{name}: QEMU machine without disk or kernel, boots from {card}"));
    Ok(())
}

/// The Machine object, and the provisioner's log of its way.
fn provisioned(scene: &Scene<'_>, machine: &Machine) -> Result<()> {
    let name = &machine.name;
    let object = scene.world.kubectl().json(&["get", "machine", name, "-o", "json"])?;
    let status = &object["status"];
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    ensure!(text("phase") == "Ready", "machine {name} is {status}");
    ensure!(
        text("nodeName") == *name && !text("firmware").is_empty(),
        "machine {name} is {status}"
    );
    let log = fs::read_to_string(paths::state().join("server.log"))?;
    let steps: Vec<&str> =
        WAY.into_iter().filter(|step| log.lines().any(|line| is_step(line, name, step))).collect();
    ensure!(steps == WAY, "the provisioner's log shows {name} only as {steps:?}");
    scene.proves(format!(
        "{name}: firmware {} at {}, seen by DHCP, TFTP and HTTP as {}",
        text("firmware"),
        text("address"),
        steps.join(" > ")
    ));
    Ok(())
}

/// A line such as `... machine machine="node-1" from=Unknown to=Discovered`, plain or as JSON.
fn is_step(line: &str, machine: &str, step: &str) -> bool {
    let line = without_colours(line);
    let to = [format!("to={step}"), format!("\"to\":\"{step}\"")];
    line.contains(machine) && to.iter().any(|text| line.contains(text))
}

/// Seen from inside: the arguments that the boot script set, a RAM root, and the boot id that the Node object shows.
fn runs_the_node_image(scene: &Scene<'_>, machine: &Machine) -> Result<()> {
    let name = &machine.name;
    let mut shell = scene.world.shell(name)?;
    let arguments = shell.run("busybox cat /proc/cmdline")?;
    let given =
        [format!("bulkhead.hostname={name}"), format!("bulkhead.ip={}/", machine.address())];
    for word in &given {
        ensure!(arguments.contains(word), "{name} was booted without {word}");
    }
    let root = shell.run("busybox grep ' / ' /proc/mounts")?;
    ensure!(root.starts_with("rootfs"), "{name}'s root is {root}");
    let boot_id = shell.run("busybox cat /proc/sys/kernel/random/boot_id")?;
    let object = scene.world.kubectl().json(&["get", "node", name, "-o", "json"])?;
    let info = &object["status"]["nodeInfo"];
    ensure!(info["bootID"] == Value::String(boot_id.clone()), "node {name} shows {info}");
    scene.proves(format!("{name}: boot id {boot_id}, root in RAM ({root}), {}", given.join(" ")));
    Ok(())
}

/// Leaves out escape sequences for terminals (`ESC [ ... m`).
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found_in_both_log_forms() {
        assert!(is_step(
            "INFO metal: machine machine=\"node-1\" from=Unknown to=Booting",
            "node-1",
            "Booting"
        ));
        assert!(is_step(r#"{"fields":{"machine":"node-1","to":"Booting"}}"#, "node-1", "Booting"));
        let coloured = "machine \u{1b}[3mmachine\u{1b}[0m\u{1b}[2m=\u{1b}[0m\"node-1\" \u{1b}[3mto\u{1b}[0m\u{1b}[2m=\u{1b}[0mReady";
        assert!(is_step(coloured, "node-1", "Ready"));
        assert!(!is_step("machine=node-2 to=Booting", "node-1", "Booting"));
        assert!(!is_step("machine=node-1 from=Booting to=Loading", "node-1", "Booting"));
    }
}
