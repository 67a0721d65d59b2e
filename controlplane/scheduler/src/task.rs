//! The scheduler's task: watches in, bindings out.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use client::{Change, Informer};
use futures::{FutureExt as _, StreamExt, future::BoxFuture};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::{
        events::{Event, EventType, Recorder, Reporter},
        watcher,
    },
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    SCHEDULER_NAME,
    cache::{Cache, is_finished},
    cycle::{NoFit, schedule},
    framework::Plugin,
    metrics,
    nominations::Nominations,
    plugins::default_plugins,
    preemption::{self, Victims},
    queue::Queue,
};

/// Bindings under way at a time; further pods wait in the queue.
const BINDINGS_MAX: usize = 64;
/// Changes taken before pods are tried, so that a burst is seen whole.
const RESULTS_MAX: usize = 256;

/// Why the scheduler ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the watch of {kind} ended")]
    WatchEnded { kind: &'static str },
}

/// What a detached write reports back.
enum Done {
    Bound,
    /// The binding was refused: the pod is not on the node.
    NotBound {
        pod: Arc<Pod>,
        attempts: u32,
        error: kube::Error,
    },
}

struct Scheduler {
    client: Client,
    plugins: Vec<Box<dyn Plugin>>,
    cache: Cache,
    queue: Queue,
    nominations: Nominations,
    writes: JoinSet<()>,
    results: mpsc::Sender<Done>,
    recorder: Recorder,
}

/// Schedules until shutdown.
pub fn run(client: Client, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    // Boxed: its code is compiled in this crate, not again in every binary that awaits it.
    async move {
    let pods = Informer::start(Api::<Pod>::all(client.clone()), watcher::Config::default());
    let nodes = Informer::start(Api::<Node>::all(client.clone()), watcher::Config::default());
    let (mut pod_changes, mut node_changes) = (pods.changes(), nodes.changes());
    // Who does not know all pods puts new ones where there is no room.
    let listed = async { tokio::try_join!(pods.ready(), nodes.ready()) };
    match shutdown.run_until_cancelled(listed).await {
        None => return Ok(()),
        Some(Err(_)) => return Err(Error::WatchEnded { kind: "pods or nodes" }),
        Some(Ok(_)) => {}
    }
    let (results, mut finished) = mpsc::channel(RESULTS_MAX);
    let reporter = Reporter { controller: SCHEDULER_NAME.into(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    let mut scheduler = Scheduler {
        client,
        plugins: default_plugins(),
        cache: Cache::default(),
        queue: Queue::default(),
        nominations: Nominations::default(),
        writes: JoinSet::new(),
        results,
        recorder,
    };
    scheduler.take_all(&nodes, &pods);
    loop {
        let next = scheduler.work(Instant::now());
        let deadline = async {
            match next {
                // interval: none; the end of the next back-off. Anything new wakes the loop at once.
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            // Results first: they free places for bindings.
            Some(done) = finished.recv() => scheduler.finish(done),
            Some(_ended) = scheduler.writes.join_next(), if !scheduler.writes.is_empty() => {}
            change = node_changes.next() => match change.ok_or(Error::WatchEnded { kind: "nodes" })? {
                Change::Resynced => scheduler.take_all(&nodes, &pods),
                change => scheduler.follow_node(change),
            },
            change = pod_changes.next() => match change.ok_or(Error::WatchEnded { kind: "pods" })? {
                Change::Resynced => scheduler.take_all(&nodes, &pods),
                change => scheduler.follow_pod(change),
            },
            () = deadline => {}
        }
    }
}.boxed()
}

impl Scheduler {
    /// Tries what is due. Returns when the next pod is due.
    fn work(&mut self, now: Instant) -> Option<Instant> {
        let next = self.queue.advance(now);
        while self.writes.len() < BINDINGS_MAX {
            let Some((pod, attempts)) = self.queue.pop() else { break };
            let start = Instant::now();
            let view = self.nominations.view(self.cache.snapshot(), &pod);
            let chosen = schedule(&self.plugins, &pod, &view);
            metrics::attempted(chosen.is_ok(), start.elapsed());
            match chosen {
                Ok(node) => self.bind(&pod, &node, attempts),
                Err(why) => self.report_no_fit(&pod, attempts, &why, now),
            }
        }
        let (active, waiting) = self.queue.len();
        metrics::pending(active, waiting);
        next
    }

    /// Compares all that is known with all that there is.
    fn take_all(&mut self, nodes: &Informer<Node>, pods: &Informer<Pod>) {
        let (nodes, pods) = (nodes.all(), pods.all());
        let there: BTreeSet<String> = nodes.iter().map(|node| node.name_any()).collect();
        for name in self.cache.node_names().into_iter().filter(|name| !there.contains(name)) {
            self.cache.remove_node(&name);
        }
        for node in nodes {
            self.cache.put_node(node);
        }
        let there: BTreeSet<String> = pods.iter().filter_map(|pod| pod.uid()).collect();
        for uid in self.cache.pod_uids().into_iter().chain(self.queue.uids()) {
            if !there.contains(&uid) {
                self.forget(&uid);
            }
        }
        for pod in pods {
            self.put_pod(pod);
        }
        self.queue.wake();
    }

    fn follow_node(&mut self, change: Change<Node>) {
        match change {
            Change::Applied(node) => self.cache.put_node(node),
            Change::Deleted(node) => self.cache.remove_node(&node.name_any()),
            Change::Resynced => {}
        }
        self.queue.wake();
    }

    fn follow_pod(&mut self, change: Change<Pod>) {
        match change {
            Change::Applied(pod) => self.put_pod(pod),
            Change::Deleted(pod) => {
                self.forget(&pod.uid().unwrap_or_default());
                self.queue.wake();
            }
            Change::Resynced => {}
        }
    }

    /// A pod is gone.
    fn forget(&mut self, uid: &str) {
        self.queue.remove(uid);
        self.nominations.remove(uid);
        self.cache.remove_pod(uid);
    }

    fn put_pod(&mut self, pod: Arc<Pod>) {
        let uid = pod.uid().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let bound =
            spec.and_then(|spec| spec.node_name.as_deref()).is_some_and(|name| !name.is_empty());
        if bound {
            self.queue.remove(&uid);
            self.nominations.remove(&uid);
            let finished = is_finished(&pod);
            self.cache.put_pod(pod);
            if finished {
                self.queue.wake();
            }
            return;
        }
        let ours = spec
            .and_then(|spec| spec.scheduler_name.as_deref())
            .is_none_or(|name| name == SCHEDULER_NAME);
        let gated =
            spec.is_some_and(|spec| spec.scheduling_gates.iter().flatten().next().is_some());
        let assumed = self.cache.is_assumed(&uid);
        if !ours
            || gated
            || assumed
            || pod.metadata.deletion_timestamp.is_some()
            || is_finished(&pod)
        {
            if !assumed {
                self.queue.remove(&uid);
                self.nominations.remove(&uid);
            }
            return;
        }
        // Room that was made before this scheduler started is kept too.
        if let Some(node) =
            pod.status.as_ref().and_then(|status| status.nominated_node_name.clone())
        {
            self.nominations.put(Arc::clone(&pod), node);
        }
        self.queue.add(pod);
    }

    /// Assumes the pod on the node and binds it in the background.
    fn bind(&mut self, pod: &Arc<Pod>, node: &str, attempts: u32) {
        let mut assumed = (**pod).clone();
        assumed.spec.get_or_insert_default().node_name = Some(node.to_owned());
        self.cache.put_pod(Arc::new(assumed));
        self.nominations.remove(&pod.uid().unwrap_or_default());
        let (client, results, recorder) =
            (self.client.clone(), self.results.clone(), self.recorder.clone());
        let (pod, node) = (Arc::clone(pod), node.to_owned());
        self.writes.spawn(async move {
            let done = match post_binding(&client, &pod, &node).await {
                Ok(()) => {
                    info!(
                        pod = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()),
                        uid = pod.uid(),
                        revision = pod.resource_version(),
                        node,
                        "bound"
                    );
                    Done::Bound
                }
                Err(error) => Done::NotBound { pod: Arc::clone(&pod), attempts, error },
            };
            let bound = matches!(done, Done::Bound);
            let _shutting_down = results.send(done).await;
            if bound {
                let place = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
                let note = format!("Successfully assigned {place} to {node}");
                publish(&recorder, &pod, EventType::Normal, "Scheduled", "Binding", note).await;
            }
        });
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Bound => {}
            Done::NotBound { pod, attempts, error } => {
                warn!(
                    pod = pod.name_any(),
                    uid = pod.uid(),
                    error = &error as &dyn std::error::Error,
                    "binding failed"
                );
                let uid = pod.uid().unwrap_or_default();
                self.cache.remove_pod(&uid);
                let gone = matches!(&error, kube::Error::Api(status) if status.code == 404 || status.code == 409);
                if !gone {
                    self.queue.put_back(pod, attempts, Instant::now());
                    self.queue.wake();
                }
            }
        }
    }

    /// Who has to make room for a pod; nobody while those that were told to are still leaving.
    fn victims(&self, pod: &Pod, why: &NoFit) -> Option<Victims> {
        let all = self.cache.snapshot();
        if self.nominations.is_waiting(all, pod) {
            return None;
        }
        preemption::find(&self.plugins, pod, &self.nominations.view(all, pod), why)
    }

    fn report_no_fit(&mut self, pod: &Arc<Pod>, attempts: u32, why: &NoFit, now: Instant) {
        debug!(pod = pod.name_any(), uid = pod.uid(), %why, "no node fits");
        let victims = self.victims(pod, why);
        if let Some(victims) = &victims {
            self.nominations.put(Arc::clone(pod), victims.node.clone());
        }
        self.queue.put_back(Arc::clone(pod), attempts, now);
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        let (pod, message) = (Arc::clone(pod), why.to_string());
        self.writes.spawn(async move {
            if let Some(victims) = victims {
                preempt(&client, &recorder, &pod, &victims).await;
            }
            // The condition goes first: it is what `kubectl get pod -o yaml` and autoscalers read.
            if let Err(error) = mark_unschedulable(&client, &pod, &message).await {
                warn!(
                    pod = pod.name_any(),
                    error = &error as &dyn std::error::Error,
                    "condition not written"
                );
            }
            publish(&recorder, &pod, EventType::Warning, "FailedScheduling", "Scheduling", message)
                .await;
        });
    }
}

async fn post_binding(client: &Client, pod: &Pod, node: &str) -> Result<(), kube::Error> {
    let namespace = pod.namespace().unwrap_or_default();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": pod.name_any(), "namespace": namespace, "uid": pod.uid()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let _status: serde_json::Value = api
        .create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding)
        .await?;
    Ok(())
}

async fn mark_unschedulable(client: &Client, pod: &Pod, message: &str) -> Result<(), kube::Error> {
    let known = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let same = known.into_iter().any(|c| {
        c.type_ == "PodScheduled" && c.status == "False" && c.message.as_deref() == Some(message)
    });
    if same {
        return Ok(());
    }
    let patch = json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastTransitionTime": now(),
    }]}});
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}

async fn preempt(client: &Client, recorder: &Recorder, pod: &Pod, victims: &Victims) {
    for victim in &victims.pods {
        let api: Api<Pod> =
            Api::namespaced(client.clone(), &victim.namespace().unwrap_or_default());
        // Its workload can tell from this that the pod did not fail by itself.
        if let Err(error) = mark_disrupted(&api, victim).await {
            warn!(victim = victim.name_any(), %error, "condition not written");
        }
        match api.delete(&victim.name_any(), &DeleteParams::default()).await {
            Ok(_) => {
                let note = format!(
                    "Preempted by pod {} on node {}",
                    pod.uid().unwrap_or_default(),
                    victims.node
                );
                publish(recorder, victim, EventType::Normal, "Preempted", "Preempting", note).await;
            }
            Err(error) => warn!(victim = victim.name_any(), %error, "not preempted"),
        }
    }
    let nominated = json!({"status": {"nominatedNodeName": victims.node}});
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let patched = api
        .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(nominated))
        .await;
    if let Err(error) = patched {
        warn!(pod = pod.name_any(), %error, "nomination not written");
    }
}

async fn mark_disrupted(api: &Api<Pod>, victim: &Pod) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"uid": victim.uid()}, "status": {"conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
        "message": format!("{SCHEDULER_NAME}: preempting to accommodate a higher priority pod"),
        "lastTransitionTime": now(),
    }]}});
    let name = victim.name_any();
    api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The server takes no longer note.
const NOTE_BYTES_MAX: usize = 1024;

fn cut(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
    note
}

async fn publish(
    recorder: &Recorder,
    pod: &Pod,
    kind: EventType,
    reason: &str,
    action: &str,
    note: String,
) {
    let event = Event {
        type_: kind,
        reason: reason.into(),
        note: Some(cut(note)),
        action: action.into(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &pod.object_ref(&())).await {
        debug!(pod = pod.name_any(), %error, "event not written");
    }
}
