//! The rack's machines: declared as API objects, switched on, followed until their nodes are Ready.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use indicatif::ProgressBar;
use rack::{host::Accelerator, machine::Machine};

use crate::{kube, paths};

/// From power-on to Ready, for all machines, in software emulation.
const JOIN_DEADLINE: Duration = Duration::from_secs(600);

/// Declares the machines, switches them on, waits until their nodes are Ready.
pub fn boot(machines: &[Machine], accelerator: Accelerator, bar: &ProgressBar) -> Result<String> {
    let start = Instant::now();
    for machine in machines {
        kube::apply(&declaration(machine))?;
        machine.power_on(&paths::state(), accelerator)?;
    }
    loop {
        let phases = phases()?;
        let shown: Vec<String> =
            phases.iter().map(|(name, phase)| format!("{name} {phase}")).collect();
        bar.set_message(shown.join(", "));
        let ready = machines
            .iter()
            .filter(|machine| phases.get(&machine.name).is_some_and(|phase| phase == "Ready"))
            .count();
        if ready == machines.len() {
            return Ok(format!("{ready} nodes Ready"));
        }
        if start.elapsed() > JOIN_DEADLINE {
            bail!("machines after {} s: {}", JOIN_DEADLINE.as_secs(), shown.join(", "));
        }
        if let Some(dead) = machines.iter().find(|machine| !machine.is_on(&paths::state())) {
            bail!("{} has gone off; see {}", dead.name, dead.console(&paths::state()).display());
        }
        // interval: progress for a person; the machines boot for tens of seconds.
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn phases() -> Result<BTreeMap<String, String>> {
    let list = kube::get_json(&["get", "machines", "-o", "json"])?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        .map(|item| {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            let phase = item["status"]["phase"].as_str().unwrap_or("declared");
            (name.to_owned(), phase.to_owned())
        })
        .collect())
}

fn declaration(machine: &Machine) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "metal.bulkhead.io/v1alpha1", "kind": "Machine", "metadata": {"name": machine.name},
        "spec": {"macAddress": machine.mac(), "address": machine.address(), "admitted": true},
    })
}

/// Switches off every machine that this checkout's rack runs.
pub fn power_off_all() -> Result<()> {
    for index in 1..=u8::MAX {
        let machine = Machine { name: format!("node-{index}"), index, memory_mib: 0, cpus: 0 };
        if machine.is_on(&paths::state()) {
            machine.power_off(&paths::state())?;
        }
    }
    Ok(())
}
