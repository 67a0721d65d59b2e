//! Carries out what the machine asks for: each action becomes a job that answers with one event.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use podloop::container::Exit;
use podloop::spec::{self, ContainerInput, Rejection};
use podloop::status::guest_id;
use podloop::{Action, Event, Record};
use proto::guest as g;
use tracing::Instrument;

use super::task::{Carry, Done, PodTask};
use super::{guest, hooks, images, vm};
use crate::shared::Shared;
use crate::stages::timestamp;

impl PodTask {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Record(record) => self.record(&record),
            Action::PullImage { container } => self.pull(container),
            Action::AttachNetwork => self.attach(),
            Action::ResolveVolumes => self.resolve_volumes(),
            Action::LaunchVm => self.launch(),
            Action::Configure => self.configure(),
            Action::StartContainer { container, attempt } => {
                self.start_container(container, attempt)
            }
            Action::RunHook { container, attempt, hook } => {
                if let Some(job) = hooks::hook(self, container, attempt, hook) {
                    self.spawn(job);
                }
            }
            Action::Probe { container, attempt, kind } => {
                if let Some(job) = hooks::probe(self, container, attempt, kind) {
                    self.spawn(job);
                }
            }
            Action::Signal { container, attempt, kill } => self.signal(container, attempt, kill),
            Action::Forget { container, attempt } => self.forget(container, attempt),
            Action::ShutdownVm => self.shut_down(),
            Action::Release => self.release(),
        }
    }

    pub(super) fn spawn(&mut self, job: impl Future<Output = Done> + Send + 'static) {
        self.jobs.spawn(job.in_current_span());
    }

    fn pull(&mut self, container: usize) {
        let plan = self.machine.plan.containers[container].clone();
        let (shared, pod) = (Arc::clone(&self.shared), Arc::clone(&self.pod));
        let references = self.references.clone();
        let present = images::present(&*shared.images, &plan);
        if present.is_none() && plan.pull_policy != podloop::PullPolicy::Never {
            let message = format!("Pulling image \"{}\"", plan.image);
            let container = Some(container);
            self.record(&Record { warning: false, reason: "Pulling", message, container });
        }
        self.spawn(async move {
            match images::obtain(&shared, &pod, &plan, present, &references).await {
                Ok((image, pulled)) => {
                    let event = Event::ImageReady { container, image: pulled };
                    Done { event: Some(event), carry: Carry::Image(container, image) }
                }
                Err(failure) => Done::event(Event::ImageFailed { container, failure }),
            }
        });
    }

    fn attach(&mut self) {
        let (shared, uid) = (Arc::clone(&self.shared), self.machine.plan.uid.clone());
        self.spawn(async move {
            match shared.links.attach(&uid).await {
                Ok((card, tap)) => {
                    let event = Event::NetworkReady { address: card.address.clone() };
                    Done { event: Some(event), carry: Carry::Network(card, tap) }
                }
                Err(message) => Done::event(Event::NetworkFailed { message }),
            }
        });
    }

    /// Volumes that show the pod's address are made again once it is known (`configure`).
    fn resolve_volumes(&mut self) {
        let (shared, pod) = (Arc::clone(&self.shared), Arc::clone(&self.pod));
        let (facts, references) = (self.facts(), self.references.clone());
        let tokens = self.tokens.take().unwrap_or_default();
        self.spawn(async move {
            match vm::make_volumes(&shared, &pod, &facts, &references, tokens).await {
                Ok((volumes, tokens)) => {
                    let carry = Carry::Volumes(volumes, tokens);
                    Done { event: Some(Event::VolumesReady), carry }
                }
                Err(message) => Done::event(Event::VolumesFailed { message }),
            }
        });
    }

    /// An object changed or a token is due: the guest gets what differs.
    pub(super) fn rewrite_volumes(&mut self) {
        let Some(vm) = self.vm.clone() else { return };
        let Some(tokens) = self.tokens.take() else {
            self.volumes_dirty = true;
            return;
        };
        let (shared, pod) = (Arc::clone(&self.shared), Arc::clone(&self.pod));
        let (facts, references) = (self.facts(), self.references.clone());
        let before = self.volumes.clone();
        self.spawn(async move {
            match vm::make_volumes(&shared, &pod, &facts, &references, tokens).await {
                Ok((volumes, tokens)) => {
                    vm::write_changed(&vm, &before, &volumes).await;
                    Done { event: None, carry: Carry::Volumes(volumes, tokens) }
                }
                Err(message) => {
                    tracing::warn!(message, "volumes keep their old contents");
                    Done { event: None, carry: Carry::VolumesStale }
                }
            }
        });
    }

    fn start_container(&mut self, index: usize, attempt: u32) {
        let Some(vm) = self.vm.clone() else { return };
        let plan = &self.machine.plan.containers[index];
        let (name, image) = (plan.name.clone(), self.images[index].clone());
        let (Some(image), Some(container)) = (image, find_container(&self.pod, &name)) else {
            // After an agent restart the image may have been removed from the node: the VM has its layers,
            // but nothing says any more how to run it.
            let reason = "CreateContainerError".to_owned();
            let message = "the image is not on the node any more".to_owned();
            let event = Event::ContainerRejected { container: index, attempt, reason, message };
            self.spawn(std::future::ready(Done::event(event)));
            return;
        };
        let pump =
            self.pumps.begin(&self.shared.logs, self.log_id(index, attempt), &self.directory);
        let job = StartJob {
            shared: Arc::clone(&self.shared),
            pod: Arc::clone(&self.pod),
            references: self.references.clone(),
            facts: self.facts(),
            container,
            layer_devices: vm::devices_of(&self.images, index),
            image: image.config,
            id: guest_id(&name, attempt),
            index,
            attempt,
        };
        self.spawn(async move { job.run(vm, pump).await });
    }

    pub(super) fn log_id(&self, index: usize, attempt: u32) -> crate::logs::LogId {
        let plan = &self.machine.plan;
        crate::logs::LogId {
            namespace: plan.namespace.clone(),
            pod: plan.name.clone(),
            uid: plan.uid.clone(),
            container: plan.containers[index].name.clone(),
            attempt,
        }
    }

    fn signal(&mut self, index: usize, attempt: u32, kill: bool) {
        let Some(vm) = self.vm.clone() else { return };
        let id = guest_id(&self.machine.plan.containers[index].name, attempt);
        let signal = if kill { 9 } else { images::stop_signal(&self.pod, &self.machine, index) };
        self.spawn(async move {
            let request = g::SignalRequest { id: id.clone(), signal };
            if let Err(error) = vm.guest.clone().signal(request).await {
                tracing::warn!(%error, id, signal, "signal not delivered");
            }
            Done::nothing()
        });
    }

    fn forget(&mut self, index: usize, attempt: u32) {
        let Some(vm) = self.vm.clone() else { return };
        let id = guest_id(&self.machine.plan.containers[index].name, attempt);
        let drained = self.pumps.take(&id);
        self.spawn(async move {
            guest::wait_drained(drained).await;
            let _gone = vm.guest.clone().remove_container(g::ContainerId { id }).await;
            Done::nothing()
        });
    }
}

/// The container of this name in the pod's spec.
pub(super) fn find_container(pod: &Pod, name: &str) -> Option<Container> {
    let spec = pod.spec.as_ref()?;
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.into_iter().find(|container| container.name == name).cloned()
}

struct StartJob {
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    references: std::collections::BTreeSet<volume::ObjectRef>,
    facts: spec::NodeFacts,
    container: Container,
    layer_devices: Vec<String>,
    image: spec::ImageConfig,
    id: String,
    index: usize,
    attempt: u32,
}

impl StartJob {
    async fn run(self, vm: vmhost::Vm, pump: guest::Pump) -> Done {
        let (index, attempt) = (self.index, self.attempt);
        let request = match self.translate().await {
            Ok(request) => request,
            Err(Rejection { reason, message }) => {
                let reason = reason.to_owned();
                let event = Event::ContainerRejected { container: index, attempt, reason, message };
                return Done::event(event);
            }
        };
        let answer = vm.guest.clone().start_container(request).await;
        let event = match answer.map(tonic::Response::into_inner) {
            Ok(g::Started { failure: Some(failure), .. }) => {
                let exit = start_error(failure.reason, failure.message, failure.exit_code, attempt);
                Event::ContainerNotStarted { container: index, attempt, exit }
            }
            Ok(started) => {
                pump.start(&vm, self.id.clone());
                let at = timestamp(started.started_unix_nanos);
                Event::ContainerRunning { container: index, attempt, at }
            }
            Err(error) => {
                if vm::ends_soon(&vm).await {
                    return Done::nothing();
                }
                let exit = start_error("StartError".into(), error.to_string(), 128, attempt);
                Event::ContainerNotStarted { container: index, attempt, exit }
            }
        };
        Done::event(event)
    }

    async fn translate(&self) -> Result<g::Container, Rejection> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let services = self.shared.services.visible(namespace).await;
        let objects = self.shared.objects.resolve(&self.references).await;
        spec::container(&ContainerInput {
            pod: &self.pod,
            container: &self.container,
            id: self.id.clone(),
            image: &self.image,
            layer_devices: self.layer_devices.clone(),
            facts: &self.facts,
            objects: &objects,
            services: &services,
        })
    }
}

fn start_error(reason: String, message: String, code: i32, attempt: u32) -> Exit {
    let reason = if reason.is_empty() { "StartError".to_owned() } else { reason };
    let code = if code == 0 { 128 } else { code };
    Exit { code, signal: 0, reason, message, started: None, finished: Timestamp::now(), attempt }
}
