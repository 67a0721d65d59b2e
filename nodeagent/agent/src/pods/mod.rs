//! The pods of this node: one task each, found by the API's watch or by the records of an earlier agent.

mod actions;
mod guest;
mod hooks;
mod images;
mod record;
mod status;
mod task;
mod vm;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use parking_lot::RwLock;
use podloop::Machine;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::Instrument;
use vmhost::Vm;

use crate::shared::Shared;
use crate::stages::{Stage, Stages};
pub use hooks::guest_exec;
use task::{Mail, PodTask};

/// Messages waiting for one pod's task.
const MAILBOX: usize = 16;

/// What others may know of a pod, always the latest.
#[derive(Debug, Clone)]
pub struct PodHandle {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    mailbox: mpsc::Sender<Mail>,
    pub pod: watch::Receiver<Arc<Pod>>,
    pub machine: watch::Receiver<Machine>,
    pub vm: watch::Receiver<Option<Vm>>,
    pub stages: Stages,
}

/// All pods, by uid. Cheap to clone.
#[derive(Clone, Default)]
pub struct Pods {
    known: Arc<RwLock<HashMap<String, PodHandle>>>,
}

impl Pods {
    /// The pod of this name; the youngest if several uids carry it.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<PodHandle> {
        let known = self.known.read();
        let mut found: Vec<&PodHandle> =
            known.values().filter(|pod| pod.namespace == namespace && pod.name == name).collect();
        found.sort_by_key(|handle| handle.pod.borrow().creation_timestamp());
        found.last().map(|handle| (*handle).clone())
    }

    #[must_use]
    pub fn all(&self) -> Vec<PodHandle> {
        self.known.read().values().cloned().collect()
    }
}

/// Owns the tasks.
pub struct Supervisor {
    shared: Arc<Shared>,
    pods: Pods,
    tasks: JoinSet<String>,
}

impl Supervisor {
    #[must_use]
    pub fn new(shared: Arc<Shared>, pods: Pods) -> Self {
        Self { shared, pods, tasks: JoinSet::new() }
    }

    /// Re-adopts recorded pods, then follows the API until shutdown.
    pub async fn run(mut self) {
        self.restore_recorded().await;
        let api: Api<Pod> = Api::all(self.shared.client.clone());
        let fields = format!("spec.nodeName={}", self.shared.facts.node_name);
        let config = watcher::Config::default().fields(&fields);
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        let mut listed = BTreeSet::new();
        loop {
            tokio::select! {
                biased;
                () = self.shared.shutdown.cancelled() => break,
                // Tasks that ended make room before new pods come.
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.forget(ended),
                event = events.try_next() => match event {
                    Ok(Some(event)) => self.take_in(event, &mut listed).await,
                    Ok(None) => break,
                    Err(error) => tracing::warn!(%error, "watch of pods failed"),
                },
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.forget(ended);
        }
    }

    async fn take_in(&mut self, event: watcher::Event<Pod>, listed: &mut BTreeSet<String>) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(pod) => {
                listed.extend(pod.uid());
                self.apply(pod).await;
            }
            watcher::Event::Apply(pod) => self.apply(pod).await,
            watcher::Event::InitDone => {
                let gone: Vec<PodHandle> =
                    self.pods.all().into_iter().filter(|pod| !listed.contains(&pod.uid)).collect();
                for handle in gone {
                    let _ended = handle.mailbox.send(Mail::Gone).await;
                }
                self.remove_strangers(listed).await;
            }
            watcher::Event::Delete(pod) => {
                let handle = pod.uid().and_then(|uid| self.pods.known.read().get(&uid).cloned());
                if let Some(handle) = handle {
                    let _ended = handle.mailbox.send(Mail::Gone).await;
                }
            }
        }
    }

    async fn apply(&mut self, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        let known = self.pods.known.read().get(&uid).cloned();
        if let Some(handle) = known {
            let _ended = handle.mailbox.send(Mail::Update(Arc::new(pod))).await;
            return;
        }
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let over = matches!(phase, Some("Succeeded" | "Failed"));
        if pod.metadata.deletion_timestamp.is_some() {
            // Nothing of it runs here: what an earlier agent started has been restored before.
            let client = self.shared.client.clone();
            tokio::spawn(async move { status::delete_pod(&client, &pod).await });
        } else if !over {
            let pod = Arc::new(pod);
            let machine = task::new_machine(&pod, Timestamp::now());
            self.start(pod, machine, false);
        }
    }

    fn start(&mut self, pod: Arc<Pod>, machine: Machine, restored: bool) {
        let uid = pod.uid().unwrap_or_default();
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let stages = Stages::default();
        // One search for the uid finds every line about the pod, here and in the control plane's log.
        let span = tracing::info_span!(
            "pod",
            pod = %format!("{namespace}/{name}"),
            uid,
            revision = pod.resource_version(),
            node = self.shared.facts.node_name,
            vm = tracing::field::Empty,
        );
        if !restored {
            span.in_scope(|| stages.note(Stage::AgentSeen));
        }
        let (mailbox, mails) = mpsc::channel(MAILBOX);
        let task = PodTask::new(Arc::clone(&self.shared), pod, machine, mails, stages.clone());
        let handle = PodHandle {
            uid: uid.clone(),
            namespace,
            name,
            mailbox: mailbox.clone(),
            pod: task.pod_updates(),
            machine: task.machine_updates(),
            vm: task.vm_updates(),
            stages,
        };
        self.pods.known.write().insert(uid.clone(), handle);
        let run = async move {
            task.run(restored, mailbox).await;
            uid
        };
        self.tasks.spawn(run.instrument(span));
    }

    fn forget(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                self.pods.known.write().remove(&uid);
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                // A pod task that panics is a bug of the agent; a fresh process re-adopts every pod.
                tracing::error!(%error, "a pod task failed: ending the agent");
                self.shared.shutdown.cancel();
            }
        }
    }

    async fn restore_recorded(&mut self) {
        for (pod, state) in record::load_all(&self.shared.pods_dir) {
            let plan = podloop::PodPlan::new(&pod);
            match Machine::restore(plan, state) {
                Some(machine) => self.start(Arc::new(pod), machine, true),
                None => tracing::warn!(pod = pod.name_any(), "record does not fit its pod"),
            }
        }
    }

    /// VMs that no pod claims: their records were lost, or their pods are gone.
    async fn remove_strangers(&self, listed: &BTreeSet<String>) {
        for uid in self.shared.vms.recorded().await {
            let known = self.pods.known.read().contains_key(&uid);
            if !known && !listed.contains(&uid) {
                tracing::warn!(uid, "ending a VM that belongs to no pod");
                if let Err(error) = self.shared.vms.destroy(&uid).await {
                    tracing::warn!(%error, uid, "could not end it");
                }
            }
        }
    }
}
