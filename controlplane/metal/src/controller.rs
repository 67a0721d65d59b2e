//! Keeps Machine objects true: creates them for strangers, writes what was seen, follows their nodes.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Config, Error,
    inventory::{Entry, Inventory},
    join,
    machine::{self, Machine, MachineSpec},
    state::{self, Sight},
};

/// Reports from the boot servers that may wait; then the servers wait.
pub(crate) const REPORTS_MAX: usize = 256;

/// Something that a boot server saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Lower case, colons.
    pub mac: String,
    pub sight: Sight,
}

struct Controller {
    client: Client,
    config: Config,
    inventory: Inventory,
    /// By MAC, as last seen.
    machines: BTreeMap<String, Machine>,
}

/// Runs until shutdown.
pub(crate) async fn run(
    client: Client,
    config: Config,
    inventory: Inventory,
    mut reports: mpsc::Receiver<Report>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let machines =
        watcher(machine::api(client.clone()), watcher::Config::default()).default_backoff();
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = watcher(nodes, watcher::Config::default()).default_backoff().applied_objects();
    let (mut machines, mut nodes) = (machines.boxed(), nodes.boxed());
    let mut controller = Controller { client, config, inventory, machines: BTreeMap::new() };
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            event = machines.try_next() => controller.follow_machine(event),
            Some(report) = reports.recv() => controller.record(&report).await,
            node = nodes.try_next() => if let Ok(Some(node)) = node { controller.follow_node(&node).await },
        }
    }
}

impl Controller {
    fn follow_machine(&mut self, event: Result<Option<Event<Machine>>, watcher::Error>) {
        match event {
            Ok(Some(Event::Apply(machine) | Event::InitApply(machine))) => {
                let mac = machine.spec.mac_address.to_lowercase();
                let known = machine.status.as_ref().and_then(|status| status.address);
                let entry = Entry {
                    name: machine.name_any(),
                    address: machine.spec.address.or(known),
                    admitted: machine.spec.admitted,
                };
                self.inventory.put(&mac, entry);
                self.machines.insert(mac, machine);
            }
            Ok(Some(Event::Delete(machine))) => {
                let mac = machine.spec.mac_address.to_lowercase();
                self.inventory.remove(&mac);
                self.machines.remove(&mac);
            }
            Ok(Some(Event::Init | Event::InitDone) | None) => {}
            Err(error) => warn!(%error, "watching machines"),
        }
    }

    async fn record(&mut self, report: &Report) {
        let outcome = if self.machines.contains_key(&report.mac) {
            self.advance(&report.mac, &report.sight, "").await
        } else {
            self.create(&report.mac).await
        };
        if let Err(error) = outcome {
            warn!(
                mac = report.mac,
                error = &error as &dyn std::error::Error,
                "machine not updated"
            );
        }
    }

    async fn follow_node(&mut self, node: &Node) {
        let name = node.name_any();
        let found = self.machines.iter().find(|(_, machine)| machine.name_any() == name);
        let Some(mac) = found.map(|(mac, _)| mac.clone()) else { return };
        let sight = if is_ready(node) { Sight::NodeReady } else { Sight::NodeNotReady };
        let outcome = async {
            self.advance(&mac, &sight, &name).await?;
            if sight == Sight::NodeReady { join::revoke(&self.client, &mac).await } else { Ok(()) }
        };
        if let Err(error) = outcome.await {
            warn!(node = name, error = &error as &dyn std::error::Error, "machine not updated");
        }
    }

    /// Makes a Machine of a stranger.
    async fn create(&mut self, mac: &str) -> Result<(), Error> {
        let name = format!("machine-{}", mac.replace(':', ""));
        let spec = MachineSpec {
            mac_address: mac.to_owned(),
            address: None,
            admitted: self.config.admit_unknown,
        };
        let object = Machine::new(&name, &machine::resource(), spec);
        match machine::api(self.client.clone()).create(&PostParams::default(), &object).await {
            Ok(created) => {
                info!(machine = name, mac, "discovered");
                self.follow_machine(Ok(Some(Event::Apply(created))));
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(Error::api("create a machine")(error)),
        }
    }

    async fn advance(&mut self, mac: &str, sight: &Sight, node: &str) -> Result<(), Error> {
        let Some(machine) = self.machines.get_mut(mac) else { return Ok(()) };
        let mut status = machine.status.clone().unwrap_or_default();
        let Some((phase, message)) = state::next(status.phase, sight) else { return Ok(()) };
        let name = machine.name_any();
        info!(machine = name, from = ?status.phase, to = ?phase, "machine");
        status.phase = phase;
        status.message = message;
        status.last_transition_time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        status.address = self.inventory.find(mac).and_then(|entry| entry.address);
        if let Sight::Dhcp { firmware } = sight {
            status.firmware.clone_from(firmware);
        }
        if !node.is_empty() {
            node.clone_into(&mut status.node_name);
        }
        machine.status = Some(status.clone());
        machine::api(self.client.clone())
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status})))
            .await
            .map_err(Error::api("update a machine"))?;
        Ok(())
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}
