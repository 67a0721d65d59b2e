//! The pod's virtual machine: launch, configuration, volumes, shutdown, release, re-adoption.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use podloop::container::{ImageState, Run};
use podloop::spec::{NodeFacts, resources, sandbox, sizing};
use podloop::status::guest_id;
use podloop::{Event, Sandbox};
use proto::guest as g;
use tracing::Instrument;
use vmhost::{CgroupLimits, Request, Vm};
use volume::ObjectRef;
use volume::tokens::PodTokens;

use super::task::{Carry, Done, PodTask};
use super::{guest, record};
use crate::ports::{LocalImage, error_chain};
use crate::shared::Shared;
use crate::stages::Stage;

/// How long a guest may take to power off before its VMM is killed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a broken call waits for the news that the VM has ended.
const END_NEWS_TIMEOUT: Duration = Duration::from_secs(2);

impl PodTask {
    pub(super) fn launch(&mut self) {
        if let Err(error) = record::store_images(&self.directory, &self.images) {
            tracing::error!(%error, "the VM's images were not recorded");
        }
        let size = sizing::size(&self.pod, self.shared.policy);
        let tap = self.tap.take();
        let card = self.card.clone().zip(tap).map(|(card, tap)| vmhost::Card {
            tap,
            mac: card.mac,
            mtu: card.mtu,
        });
        let uid = self.machine.plan.uid.clone();
        let request = Request {
            uid: uid.clone(),
            vcpus: size.vcpus,
            memory_bytes: size.memory_bytes,
            layers: layers(&self.images),
            card,
            cgroup: CgroupLimits {
                memory_bytes: size.cgroup_memory_bytes,
                cpu_quota_us: size.cgroup_cpu_milli.map(resources::quota_us),
                cpu_weight: resources::cpu_weight(resources::shares(size.request_cpu_milli)),
            },
        };
        tracing::info!(vcpus = size.vcpus, memory_bytes = size.memory_bytes, "starting VM");
        let (shared, stages) = (Arc::clone(&self.shared), self.stages.clone());
        self.spawn(async move {
            match shared.vms.launch(request).await {
                Ok(vm) => {
                    stages.note_at(Stage::VmStarted, vm.started_unix_nanos);
                    stages.note_at(Stage::GuestPid1, vm.ready_unix_nanos);
                    Done { event: Some(Event::VmReady), carry: Carry::Vm(vm) }
                }
                Err(error) => {
                    let message = error_chain(&error);
                    if let Err(error) = shared.vms.destroy(&uid).await {
                        tracing::warn!(%error, "remains of a failed VM");
                    }
                    Done::event(Event::VmFailed { message })
                }
            }
        });
    }

    pub(super) fn configure(&mut self) {
        let (Some(vm), Some(card)) = (self.vm.clone(), self.card.clone()) else { return };
        let sandbox = sandbox::sandbox(&self.pod, &self.facts(), &card, &vm.scratch_device);
        let (shared, pod, facts) = (Arc::clone(&self.shared), Arc::clone(&self.pod), self.facts());
        let references = self.references.clone();
        let tokens = self.tokens.take().unwrap_or_default();
        guest::follow_events(&vm, self.machine.plan.clone(), self.events.clone());
        self.spawn(async move {
            // Again, because files may show the address, which is known by now; tokens are reused.
            let made = make_volumes(&shared, &pod, &facts, &references, tokens).await;
            let configured = match made {
                Ok((volumes, tokens)) => match set_up_guest(&vm, sandbox, &volumes).await {
                    Ok(boot_id) => Ok((boot_id, volumes, tokens)),
                    Err(error) => Err(error.to_string()),
                },
                Err(message) => Err(message),
            };
            match configured {
                Ok((boot_id, volumes, tokens)) => {
                    let event = Event::Configured { boot_id };
                    Done { event: Some(event), carry: Carry::Volumes(volumes, tokens) }
                }
                Err(_) if ends_soon(&vm).await => Done::nothing(),
                Err(message) => Done::event(Event::ConfigureFailed { message }),
            }
        });
    }

    pub(super) fn shut_down(&mut self) {
        let (shared, uid) = (Arc::clone(&self.shared), self.machine.plan.uid.clone());
        let (vm, logs) = (self.vm.clone(), self.pumps.take_all());
        let Some(vm) = vm else {
            // Still launching: ending the process makes the launch fail, which is the answer.
            self.spawn(async move {
                if let Err(error) = shared.vms.destroy(&uid).await {
                    tracing::warn!(%error, "VM not ended");
                }
                Done::event(Event::VmExited { message: "ended before it ran".into() })
            });
            return;
        };
        self.spawn(async move {
            for ended in logs {
                guest::wait_drained(Some(ended)).await;
            }
            let polite = async {
                let _closing = vm.guest.clone().shutdown(g::ShutdownRequest {}).await;
                vm.exit.clone().wait_for(Option::is_some).await.is_ok()
            };
            if tokio::time::timeout(SHUTDOWN_TIMEOUT, polite).await.is_err() {
                tracing::warn!("the guest did not power off: killing its VMM");
                if let Err(error) = shared.vms.destroy(&uid).await {
                    tracing::warn!(%error, "VM not ended");
                }
            }
            // `wait_for_exit` tells the machine.
            Done::nothing()
        });
    }

    pub(super) fn release(&mut self) {
        let (shared, uid) = (Arc::clone(&self.shared), self.machine.plan.uid.clone());
        self.tap = None;
        self.spawn(async move {
            if let Err(error) = shared.vms.destroy(&uid).await {
                tracing::warn!(%error, "remains of a VM");
            }
            if let Err(message) = shared.links.detach(&uid).await {
                tracing::warn!(message, "network not released");
            }
            Done::event(Event::Released)
        });
    }

    /// Finds the pod's VM again after an agent restart and takes up where the last agent stopped.
    pub(super) async fn adopt(&mut self) {
        self.recall_images();
        let sandbox = self.machine.state.sandbox;
        let may_run = matches!(
            sandbox,
            Sandbox::Launching | Sandbox::Configuring | Sandbox::Running | Sandbox::ShuttingDown
        );
        if !may_run {
            return;
        }
        let uid = self.machine.plan.uid.clone();
        let found = match self.shared.vms.adopt(&uid).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "VM not adopted");
                None
            }
        };
        let Some(vm) = found else {
            let message = "it was gone when the agent came back".to_owned();
            if let Err(error) = self.shared.vms.destroy(&uid).await {
                tracing::warn!(%error, "remains of a VM");
            }
            self.step(Event::VmExited { message });
            return;
        };
        match self.shared.links.adopt(&uid).await {
            Ok(card) => self.card = Some(card),
            Err(message) => tracing::warn!(message, "network of a running pod not found"),
        }
        tracing::info!(vmm.pid = vm.pid, "re-adopted a running VM");
        self.set_vm(Some(vm.clone()));
        self.resume(&vm, sandbox);
    }

    /// The images that the last VM was started with; those that nobody recorded are asked for again.
    fn recall_images(&mut self) {
        let known = record::load_images(&self.directory);
        if let Some(images) = known.filter(|images| images.len() == self.images.len()) {
            self.images = images;
        }
        for (container, image) in self.machine.state.containers.iter_mut().zip(&self.images) {
            if image.is_none() {
                container.image = ImageState::Needed;
            }
        }
    }

    fn resume(&mut self, vm: &Vm, sandbox: Sandbox) {
        match sandbox {
            Sandbox::Launching | Sandbox::Configuring => self.step(Event::VmReady),
            Sandbox::Running => {
                for index in 0..self.machine.plan.containers.len() {
                    let state = &self.machine.state.containers[index];
                    let produces =
                        matches!(state.run, Run::Starting | Run::Running { .. } | Run::Stopping(_));
                    let attempt = state.attempt();
                    if produces {
                        let id = self.log_id(index, attempt);
                        let pump = self.pumps.begin(&self.shared.logs, id, &self.directory);
                        let name = &self.machine.plan.containers[index].name;
                        pump.start(vm, guest_id(name, attempt));
                    }
                }
                guest::follow_events(vm, self.machine.plan.clone(), self.events.clone());
                // Tokens and files: made anew and written, since nobody remembers their refresh times.
                self.tokens = Some(PodTokens::default());
                self.rewrite_volumes();
            }
            Sandbox::ShuttingDown => self.shut_down(),
            Sandbox::Preparing | Sandbox::Gone | Sandbox::Releasing | Sandbox::Released => {}
        }
    }
}

/// Answers when the VMM process is gone.
pub(super) async fn wait_for_exit(vm: Vm) -> Done {
    let mut exit = vm.exit.clone();
    let message = match exit.wait_for(Option::is_some).await {
        Ok(exit) => exit.as_ref().map(|exit| exit.message.clone()).unwrap_or_default(),
        Err(_) => "nobody watches the VMM any more".to_owned(),
    };
    Done::event(Event::VmExited { message })
}

/// A call to the guest failed: was it because the VM has ended?
pub(super) async fn ends_soon(vm: &Vm) -> bool {
    let mut exit = vm.exit.clone();
    let news = tokio::time::timeout(END_NEWS_TIMEOUT, exit.wait_for(Option::is_some));
    news.await.is_ok()
}

/// The files of all volumes, and the tokens they hold.
pub(super) async fn make_volumes(
    shared: &Shared,
    pod: &Pod,
    facts: &NodeFacts,
    references: &BTreeSet<ObjectRef>,
    mut tokens: PodTokens,
) -> Result<(Vec<g::VolumeContents>, PodTokens), String> {
    let objects = shared.objects.resolve(references);
    let issued = tokens.current(&*shared.tokens, pod, Timestamp::now());
    let (objects, issued) = tokio::join!(objects, issued);
    let issued = issued.map_err(|message| {
        format!("MountVolume.SetUp failed for a service account token : failed to fetch token: {message}")
    })?;
    let volumes = volume::contents(pod, facts, &objects, &issued).map_err(|e| e.to_string())?;
    Ok((volumes, tokens))
}

/// Writes the volumes that differ.
pub(super) async fn write_changed(
    vm: &Vm,
    before: &[g::VolumeContents],
    now: &[g::VolumeContents],
) {
    for contents in now.iter().filter(|contents| !before.contains(contents)) {
        if let Err(error) = vm.guest.clone().write_volume(contents.clone()).await {
            tracing::warn!(%error, volume = contents.name, "volume not refreshed");
        }
    }
}

async fn set_up_guest(
    vm: &Vm,
    sandbox: g::Sandbox,
    volumes: &[g::VolumeContents],
) -> Result<String, tonic::Status> {
    let mut guest = vm.guest.clone();
    let configured = guest.configure(sandbox).await?.into_inner();
    let kernel = configured.kernel_version;
    tracing::info!(boot_id = configured.boot_id, kernel, "guest configured");
    let writes = volumes.iter().map(|contents| {
        let mut guest = vm.guest.clone();
        async move { guest.write_volume(contents.clone()).await }.in_current_span()
    });
    futures::future::try_join_all(writes).await?;
    Ok(configured.boot_id)
}

/// Every layer file of the pod once, in the guest's device order.
fn layers(images: &[Option<LocalImage>]) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    for layer in images.iter().flatten().flat_map(|image| &image.layers) {
        if !all.contains(layer) {
            all.push(layer.clone());
        }
    }
    all
}

/// The devices of one container's image, top first.
pub(super) fn devices_of(images: &[Option<LocalImage>], index: usize) -> Vec<String> {
    let all = layers(images);
    let own = images[index].iter().flat_map(|image| &image.layers);
    let position = |layer: &PathBuf| all.iter().position(|other| other == layer);
    let mut devices: Vec<String> = own.filter_map(position).map(sandbox::disk_name).collect();
    devices.reverse();
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_share_layer_devices() {
        let image = |layers: &[&str]| {
            Some(LocalImage {
                id: String::new(),
                digest: String::new(),
                size_bytes: 0,
                layers: layers.iter().map(PathBuf::from).collect(),
                config: podloop::spec::ImageConfig::default(),
                stop_signal: None,
            })
        };
        let images = [image(&["base", "a"]), image(&["base", "b"])];
        assert_eq!(layers(&images).len(), 3);
        assert_eq!(devices_of(&images, 0), ["/dev/vdb", "/dev/vda"]);
        assert_eq!(devices_of(&images, 1), ["/dev/vdc", "/dev/vda"]);
    }
}
