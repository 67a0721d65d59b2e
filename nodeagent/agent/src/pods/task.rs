//! Owns one pod: feeds its machine with events, carries out the actions, publishes status and record.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodStatus};
use kube::ResourceExt;
use podloop::machine::PodState;
use podloop::spec::NodeFacts;
use podloop::{Action, Event, Machine, PodPlan, Record, Sandbox, refuse, status};
use proto::guest::VolumeContents;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::Instrument;
use vmhost::Vm;
use volume::ObjectRef;

use super::guest::OutputPumps;
use super::status::{delete_pod, patch_status, write_statuses};
use super::{record, vm};
use crate::ports::LocalImage;
use crate::recorder::Entry;
use crate::shared::Shared;
use crate::stages::{Stage, Stages};
use podloop::spec::sandbox::Card;
use std::os::fd::OwnedFd;
use volume::tokens::PodTokens;

/// Events of the guest waiting for the machine.
const EVENTS: usize = 256;
/// A failed refresh of volumes is tried again after this long.
const VOLUMES_RETRY_SECONDS: i64 = 10;

/// What the supervisor tells a pod's task.
#[derive(Debug)]
pub enum Mail {
    Update(Arc<Pod>),
    /// The API object is gone.
    Gone,
}

/// What a finished job brings besides its event.
#[derive(Debug)]
pub enum Carry {
    Nothing,
    Image(usize, LocalImage),
    Network(Card, Option<OwnedFd>),
    Volumes(Vec<VolumeContents>, PodTokens),
    /// The volumes keep their contents; tried again later.
    VolumesStale,
    Vm(Vm),
}

/// The answer of one job.
#[derive(Debug)]
pub struct Done {
    pub event: Option<Event>,
    pub carry: Carry,
}

impl Done {
    pub fn event(event: Event) -> Self {
        Self { event: Some(event), carry: Carry::Nothing }
    }

    pub fn nothing() -> Self {
        Self { event: None, carry: Carry::Nothing }
    }
}

/// The task. Nothing else writes its state.
pub struct PodTask {
    pub(super) shared: Arc<Shared>,
    pub(super) pod: Arc<Pod>,
    pub(super) machine: Machine,
    mails: mpsc::Receiver<Mail>,
    pub(super) jobs: JoinSet<Done>,
    pub(super) events: mpsc::Sender<Event>,
    guest_events: mpsc::Receiver<Event>,
    pub(super) changed: Arc<Notify>,
    pub(super) references: BTreeSet<ObjectRef>,
    pub(super) images: Vec<Option<LocalImage>>,
    pub(super) card: Option<Card>,
    pub(super) tap: Option<OwnedFd>,
    pub(super) volumes: Vec<VolumeContents>,
    pub(super) tokens: Option<PodTokens>,
    /// Something changed while the volumes were being made.
    pub(super) volumes_dirty: bool,
    /// The last refresh failed and is tried again then.
    volumes_retry_at: Option<Timestamp>,
    pub(super) vm: Option<Vm>,
    pub(super) pumps: OutputPumps,
    pub(super) stages: Stages,
    pub(super) directory: PathBuf,
    /// The API object is gone already.
    gone: bool,
    stored: Option<PodState>,
    publish_pod: watch::Sender<Arc<Pod>>,
    publish_machine: watch::Sender<Machine>,
    publish_vm: watch::Sender<Option<Vm>>,
    publish_status: watch::Sender<Option<PodStatus>>,
}

/// A machine for a pod that this node has not run yet.
pub fn new_machine(pod: &Pod, now: Timestamp) -> Machine {
    let plan = PodPlan::new(pod);
    match refuse::refuse(pod) {
        Some(failure) => Machine::refused(plan, failure, now),
        None => {
            let mut machine = Machine::new(plan, now);
            machine.seed_restarts(pod, now);
            machine
        }
    }
}

impl PodTask {
    pub fn new(
        shared: Arc<Shared>,
        pod: Arc<Pod>,
        machine: Machine,
        mails: mpsc::Receiver<Mail>,
        stages: Stages,
    ) -> Self {
        let (events, guest_events) = mpsc::channel(EVENTS);
        let directory = shared.pods_dir.join(pod.uid().unwrap_or_default());
        Self {
            references: volume::references(&pod),
            images: vec![None; machine.plan.containers.len()],
            publish_pod: watch::Sender::new(Arc::clone(&pod)),
            publish_machine: watch::Sender::new(machine.clone()),
            publish_vm: watch::Sender::new(None),
            publish_status: watch::Sender::new(None),
            shared,
            pod,
            machine,
            mails,
            jobs: JoinSet::new(),
            events,
            guest_events,
            changed: Arc::new(Notify::new()),
            card: None,
            tap: None,
            volumes: Vec::new(),
            tokens: None,
            volumes_dirty: false,
            volumes_retry_at: None,
            vm: None,
            pumps: OutputPumps::default(),
            stages,
            directory,
            gone: false,
            stored: None,
        }
    }

    pub fn pod_updates(&self) -> watch::Receiver<Arc<Pod>> {
        self.publish_pod.subscribe()
    }

    pub fn machine_updates(&self) -> watch::Receiver<Machine> {
        self.publish_machine.subscribe()
    }

    pub fn vm_updates(&self) -> watch::Receiver<Option<Vm>> {
        self.publish_vm.subscribe()
    }

    /// Runs until the pod is deleted and released, or the agent shuts down (which leaves the VM running).
    pub async fn run(mut self, restored: bool, mailbox: mpsc::Sender<Mail>) {
        let statuses = self.publish_status.subscribe();
        let client = self.shared.client.clone();
        let writer = write_statuses(client, (*self.pod).clone(), statuses, mailbox);
        let writer = tokio::spawn(writer.in_current_span());
        let uid = self.machine.plan.uid.clone();
        self.shared.objects.set_references(&uid, &self.references, &self.changed);
        if let Some(failure) = self.machine.state.ending.as_ref().and_then(|e| e.failure.clone())
            && !restored
        {
            self.record_text(true, &failure.reason, failure.message, None);
        }
        if restored {
            self.adopt().await;
        }
        self.note_deletion();
        self.step(Event::Tick);
        while !self.is_finished() {
            if !self.turn().await {
                writer.abort();
                return;
            }
        }
        writer.abort();
        self.finish().await;
    }

    fn is_finished(&self) -> bool {
        self.machine.is_released() && self.machine.state.deleted
    }

    /// Waits for one thing and handles it; false at shutdown.
    async fn turn(&mut self) -> bool {
        // interval: none; the machine's next deadline (probe, back-off, grace). Events wake the loop at once.
        let sleep = sleep_until(self.next_deadline());
        tokio::select! {
            biased;
            () = self.shared.shutdown.cancelled() => return false,
            // The API's word on the pod goes before what its containers do.
            mail = self.mails.recv() => match mail {
                Some(mail) => self.take_mail(mail),
                None => return false,
            },
            // In the guest's order: a container's start before its end.
            Some(event) = self.guest_events.recv() => self.step(event),
            Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => self.take_done(done),
            () = self.changed.notified() => self.objects_changed(),
            // Last: what happened in time was handled above.
            () = sleep => self.deadline_passed(),
        }
        true
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let refresh = self.tokens.as_ref().and_then(PodTokens::refresh_at);
        let refresh = refresh.into_iter().chain(self.volumes_retry_at);
        let refresh = refresh.min().filter(|_| self.machine.state.sandbox == Sandbox::Running);
        self.machine.next_deadline().into_iter().chain(refresh).min()
    }

    fn deadline_passed(&mut self) {
        let refresh = self.tokens.as_ref().and_then(PodTokens::refresh_at);
        let mut due = refresh.into_iter().chain(self.volumes_retry_at);
        if due.any(|at| at <= Timestamp::now()) && self.machine.state.sandbox == Sandbox::Running {
            self.volumes_retry_at = None;
            self.rewrite_volumes();
        }
        self.step(Event::Tick);
    }

    fn objects_changed(&mut self) {
        if self.machine.state.sandbox == Sandbox::Running {
            self.rewrite_volumes();
        }
        self.step(Event::ObjectsChanged);
    }

    fn take_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Gone => {
                self.gone = true;
                let grace_seconds = self.machine.plan.grace_seconds;
                self.step(Event::Deleted { grace_seconds });
            }
            Mail::Update(pod) => {
                let meta = |pod: &Pod| (pod.labels().clone(), pod.annotations().clone());
                let relabelled = meta(&self.pod) != meta(&pod);
                let ours = self.pod.status.clone();
                let mut pod = (*pod).clone();
                keep_own_conditions(&mut pod, ours.as_ref());
                self.pod = Arc::new(pod);
                self.publish_pod.send_replace(Arc::clone(&self.pod));
                self.note_deletion();
                if relabelled && self.machine.state.sandbox == Sandbox::Running {
                    self.rewrite_volumes();
                }
                self.step(Event::Tick);
            }
        }
    }

    fn note_deletion(&mut self) {
        if self.pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        let grace = self.pod.metadata.deletion_grace_period_seconds;
        let grace_seconds = grace.unwrap_or(self.machine.plan.grace_seconds);
        let before = self.machine.state.ending.as_ref().map(|ending| ending.grace_seconds);
        if !self.machine.state.deleted || before.is_some_and(|before| grace_seconds < before) {
            self.step(Event::Deleted { grace_seconds });
        }
    }

    fn take_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let done = match done {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(%error, "a job of this pod failed");
                return;
            }
        };
        match done.carry {
            Carry::Nothing => {}
            Carry::Image(index, image) => self.images[index] = Some(image),
            Carry::Network(card, tap) => {
                self.card = Some(card);
                self.tap = tap;
            }
            Carry::Volumes(volumes, tokens) => {
                self.volumes = volumes;
                self.tokens = Some(tokens);
                self.volumes_retry_at = None;
                if std::mem::take(&mut self.volumes_dirty) {
                    self.rewrite_volumes();
                }
            }
            Carry::VolumesStale => {
                self.tokens = Some(PodTokens::default());
                let wait = jiff::SignedDuration::from_secs(VOLUMES_RETRY_SECONDS);
                self.volumes_retry_at = Some(Timestamp::now() + wait);
            }
            Carry::Vm(vm) => self.set_vm(Some(vm)),
        }
        if let Some(event) = done.event {
            self.step(event);
        }
    }

    pub(super) fn set_vm(&mut self, vm: Option<Vm>) {
        if let Some(vm) = &vm {
            tracing::Span::current().record("vm", vm.pid);
            self.jobs.spawn(vm::wait_for_exit(vm.clone()).in_current_span());
        }
        self.vm.clone_from(&vm);
        self.publish_vm.send_replace(vm);
    }

    /// One event into the machine, and all that follows from it.
    pub(super) fn step(&mut self, event: Event) {
        if matches!(event, Event::VmExited { .. } | Event::VmFailed { .. }) {
            self.set_vm(None);
        }
        let actions = self.machine.step(event, Timestamp::now());
        self.note_stages();
        // The record comes before the deed: an agent that dies in between asks again.
        self.store();
        for action in actions {
            self.act(action);
        }
        self.publish();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Record(record) => self.record(&record),
            other => self.perform(other),
        }
    }

    pub(super) fn record(&self, record: &Record) {
        let message = record.message.clone();
        self.record_text(record.warning, record.reason, message, record.container);
    }

    fn record_text(&self, warning: bool, reason: &str, message: String, container: Option<usize>) {
        let container = container.map(|index| &self.machine.plan.containers[index]);
        let field_path = container.map(|plan| {
            let list =
                if plan.role == podloop::Role::Main { "containers" } else { "initContainers" };
            format!("spec.{list}{{{}}}", plan.name)
        });
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: self.pod.namespace(),
            name: self.pod.metadata.name.clone(),
            uid: self.pod.uid(),
            resource_version: self.pod.resource_version(),
            field_path,
        };
        self.shared.recorder.record(Entry { about, warning, reason: reason.to_owned(), message });
    }

    fn note_stages(&self) {
        use podloop::container::{ImageState, Run};
        let state = &self.machine.state;
        let images = state.containers.iter().all(|c| matches!(c.image, ImageState::Ready(_)));
        let main_runs =
            self.machine.plan.containers.iter().zip(&state.containers).any(|(plan, c)| {
                plan.role == podloop::Role::Main && matches!(c.run, Run::Running { .. })
            });
        for (passed, stage) in [
            (images, Stage::ImageReady),
            (state.network == podloop::machine::Need::Ready, Stage::NetworkReady),
            (state.volumes == podloop::machine::Need::Ready, Stage::VolumesReady),
            (state.sandbox == Sandbox::Running, Stage::Configured),
            (main_runs, Stage::ContainerRunning),
        ] {
            if passed {
                self.stages.note(stage);
            }
        }
    }

    fn store(&mut self) {
        if self.stored.as_ref() == Some(&self.machine.state) || self.is_finished() {
            return;
        }
        match record::store(&self.directory, &self.pod, &self.machine.state) {
            Ok(()) => self.stored = Some(self.machine.state.clone()),
            Err(error) => tracing::error!(%error, "the pod's record was not written"),
        }
    }

    fn publish(&mut self) {
        let now = Timestamp::now();
        let status = status::pod_status(&self.machine, &self.pod, &self.shared.facts.node_ip, now);
        let ready =
            status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        if ready {
            self.stages.note(Stage::Ready);
        }
        let mut pod = (*self.pod).clone();
        pod.status = Some(status.clone());
        self.pod = Arc::new(pod);
        self.publish_pod.send_replace(Arc::clone(&self.pod));
        self.publish_machine.send_replace(self.machine.clone());
        self.publish_status.send_if_modified(|old| {
            let differs = old.as_ref() != Some(&status);
            *old = Some(status);
            differs
        });
    }

    /// The node's facts with this pod's address.
    pub(super) fn facts(&self) -> NodeFacts {
        let pod_ip = self.machine.state.address.clone().unwrap_or_default();
        NodeFacts { pod_ip, ..self.shared.facts.clone() }
    }

    /// The pod has ended: last status, delete, forget.
    async fn finish(mut self) {
        // From here on nobody reads the mailbox: the supervisor must not wait for it.
        self.mails.close();
        self.jobs.shutdown().await;
        let plan = &self.machine.plan;
        if !self.gone {
            let status = self.publish_status.borrow().clone();
            if let Some(status) = status
                && let Err(error) = patch_status(&self.shared.client, &self.pod, &status).await
            {
                tracing::debug!(%error, "last status not written");
            }
            tokio::select! {
                () = delete_pod(&self.shared.client, &self.pod) => {}
                () = self.shared.shutdown.cancelled() => return,
            }
        }
        self.shared.objects.release(&plan.uid);
        let logs = self.shared.logs.pod_dir(&plan.namespace, &plan.name, &plan.uid);
        for directory in [logs, self.directory.clone()] {
            let _absent = std::fs::remove_dir_all(directory);
        }
        tracing::info!("pod is gone");
    }
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => {
            let left = at.duration_since(Timestamp::now());
            // A due deadline that led to nothing must not spin.
            let least = Duration::from_millis(1);
            // interval: none; a deadline, see above.
            tokio::time::sleep(Duration::try_from(left).unwrap_or(least).max(least)).await;
        }
        None => std::future::pending().await,
    }
}

/// The API's copy may be older than what we computed: our conditions keep their transition times.
fn keep_own_conditions(pod: &mut Pod, ours: Option<&PodStatus>) {
    let Some(ours) = ours.and_then(|status| status.conditions.clone()) else { return };
    let status = pod.status.get_or_insert_default();
    let theirs = status.conditions.get_or_insert_default();
    let own_kinds =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    theirs.retain(|condition| !own_kinds.contains(&condition.type_.as_str()));
    theirs.extend(ours.into_iter().filter(|c| own_kinds.contains(&c.type_.as_str())));
}
