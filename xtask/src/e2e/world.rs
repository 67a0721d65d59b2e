//! What all checks share: the kubectls, the machines, the way into nodes.

use anyhow::{Context, Result, ensure};
use rack::{host, machine::Machine, process};
use serde_json::Value;

use super::{kubectl::Kubectl, shell::Shell};
use crate::{paths, up};

/// The rack as checks see it.
#[derive(Debug)]
pub struct World {
    /// The first does what one client is enough for.
    pub kubectls: Vec<Kubectl>,
    pub machines: Vec<Machine>,
    pub accelerator: host::Accelerator,
}

impl World {
    /// Brings the rack up where it is not, and unpacks the kubectls.
    pub fn enter(rack: &up::Options, suites: &[String]) -> Result<Self> {
        let finding = host::examine();
        println!("machine: {}", describe(&finding));
        let machines = up::machines(rack);
        if !is_up(&machines) {
            println!("the rack is not up: cargo xtask up");
            up::run(rack)?;
        }
        ensure!(!suites.is_empty(), "no kubectl");
        let kubectls: Result<Vec<_>> = suites
            .iter()
            .map(|suite| {
                Kubectl::of_suite(suite).with_context(|| format!("failed to get {suite}'s kubectl"))
            })
            .collect();
        let kubectls = kubectls?;
        for kubectl in &kubectls {
            println!("kubectl {}: {}", kubectl.version, kubectl.program().display());
        }
        Ok(Self { kubectls, machines, accelerator: finding.accelerator })
    }

    /// The kubectl for what one client is enough for.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectls[0]
    }

    /// The machine behind a node.
    pub fn machine(&self, node: &str) -> Result<&Machine> {
        let found = self.machines.iter().find(|machine| machine.name == node);
        found.with_context(|| format!("no machine {node}"))
    }

    /// A node's shell.
    pub fn shell(&self, node: &str) -> Result<Shell> {
        Shell::connect(&self.machine(node)?.shell(&paths::state()))
    }

    /// What a node's agent tells about its pods: VMM, boot id, memory, stages.
    pub fn debug_pods(&self, node: &str) -> Result<Vec<Value>> {
        let address = self.machine(node)?.address();
        let answer = self.kubectl().ask_agent(&address, "/debug/pods")?;
        Ok(answer["pods"].as_array().cloned().unwrap_or_default())
    }

    /// One pod of them.
    pub fn debug_pod(&self, node: &str, uid: &str) -> Result<Value> {
        let pods = self.debug_pods(node)?;
        let found = pods.into_iter().find(|pod| pod["uid"] == uid);
        found.with_context(|| format!("the agent of {node} does not know pod {uid}"))
    }
}

/// One line about how fast this machine can be.
#[must_use]
pub fn describe(finding: &host::Finding) -> String {
    let how = match finding.accelerator {
        host::Accelerator::Kvm => "hardware virtualization, pods nested one level",
        host::Accelerator::Emulation => {
            "software emulation (QEMU TCG): times are many times those of hardware"
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{how}; {processors} processors; {}", finding.reason)
}

fn is_up(machines: &[Machine]) -> bool {
    let state = paths::state();
    let server = process::alive(&state.join("server.pid"));
    server && machines.iter().all(|machine| machine.is_on(&state))
}
