//! The garbage collector: objects whose owners are gone go too; owners in foreground deletion wait for their dependents
//! (upstream `garbagecollector/`; rules: `metav1.OwnerReference`).

mod graph;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use graph::{Graph, Identity, Verdict};
use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions,
        PropagationPolicy,
    },
    core::PartialObjectMeta,
    discovery::{Scope, verbs},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{debug, warn};

use crate::{Error, driver::Shared, error::ignore_not_found};

/// How often new kinds are looked for. // interval: discovery has no watch.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(30);
/// How soon after a definition was written. // interval: what is defined together is looked for together.
const DEFINITION_DELAY: Duration = Duration::from_millis(500);
/// Changes that may wait for the graph; then the watches wait.
const CHANGES_MAX: usize = 1024;

type Meta = PartialObjectMeta<DynamicObject>;

enum Change {
    Put(Arc<Kind>, Box<Meta>),
    Gone(Arc<Kind>, Box<Meta>),
}

impl Change {
    fn may_define_a_kind(&self) -> bool {
        matches!(self, Self::Put(kind, _) if kind.resource.kind == "CustomResourceDefinition")
    }
}

/// A watched kind.
#[derive(Debug)]
pub(crate) struct Kind {
    pub resource: ApiResource,
    pub namespaced: bool,
}

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let (sender, mut changes) = mpsc::channel::<Change>(CHANGES_MAX);
    let mut watched: BTreeMap<String, Arc<Kind>> = BTreeMap::new();
    let mut watches = JoinSet::new();
    let mut graph = Graph::default();
    let mut retry: BTreeSet<Identity> = BTreeSet::new();
    // interval: kinds that were defined or removed are found by discovery, which has no watch; not on a pod's way.
    let mut interval = tokio::time::interval(DISCOVERY_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            Some(change) = changes.recv() => {
                if change.may_define_a_kind() {
                    interval.reset_after(DEFINITION_DELAY);
                }
                let affected = take(&mut graph, change);
                retry.extend(act(&shared, &mut graph, &watched, affected).await);
            }
            _ = interval.tick() => {
                watch_new_kinds(&shared.client, &mut watched, &mut watches, &sender).await;
                let again = std::mem::take(&mut retry);
                retry = act(&shared, &mut graph, &watched, again).await.into_iter().collect();
            }
        }
    }
}

async fn watch_new_kinds(
    client: &Client,
    watched: &mut BTreeMap<String, Arc<Kind>>,
    watches: &mut JoinSet<()>,
    sender: &mpsc::Sender<Change>,
) {
    let discovery = match kube::discovery::Discovery::new(client.clone()).run().await {
        Ok(discovery) => discovery,
        Err(error) => return debug!(%error, "discovery failed"),
    };
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let name = format!("{}/{}", resource.kind, resource.group);
            let useful = [verbs::LIST, verbs::WATCH, verbs::DELETE];
            let useful = useful.iter().all(|verb| capabilities.supports_operation(verb));
            // Events have no owners and are many.
            if !useful || resource.kind == "Event" || watched.contains_key(&name) {
                continue;
            }
            let namespaced = matches!(capabilities.scope, Scope::Namespaced);
            let kind = Arc::new(Kind { resource, namespaced });
            watched.insert(name, Arc::clone(&kind));
            watches.spawn(follow(client.clone(), kind, sender.clone()));
        }
    }
}

async fn follow(client: Client, kind: Arc<Kind>, sender: mpsc::Sender<Change>) {
    let api: Api<Meta> = Api::all_with(client, &kind.resource);
    let mut events: BoxStream<'_, _> =
        watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(watcher::Event::Apply(meta) | watcher::Event::InitApply(meta)) => {
                Change::Put(Arc::clone(&kind), Box::new(meta))
            }
            Ok(watcher::Event::Delete(meta)) => Change::Gone(Arc::clone(&kind), Box::new(meta)),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
            Err(error) => {
                debug!(kind = kind.resource.kind, %error, "watch");
                continue;
            }
        };
        if sender.send(change).await.is_err() {
            return;
        }
    }
}

fn take(graph: &mut Graph, change: Change) -> Vec<Identity> {
    match change {
        Change::Put(kind, meta) => graph.put(&kind.resource, &meta.metadata),
        Change::Gone(kind, meta) => graph.remove(&kind.resource, &meta.metadata),
    }
}

/// Decides and acts for each object; returns those to try again.
async fn act(
    shared: &Shared,
    graph: &mut Graph,
    watched: &BTreeMap<String, Arc<Kind>>,
    affected: impl IntoIterator<Item = Identity>,
) -> Vec<Identity> {
    let mut again = Vec::new();
    for identity in affected {
        let verdict = graph.judge(&identity);
        if verdict == Verdict::Keep {
            continue;
        }
        let outcome = match &verdict {
            Verdict::Check(owners) => check_owners(shared, graph, watched, &identity, owners).await,
            verdict => carry_out(shared, watched, &identity, verdict).await,
        };
        // Until a watch shows the owner, nothing tells of its end.
        let is_open = matches!(graph.judge(&identity), Verdict::Check(_));
        if let Err(error) = &outcome {
            warn!(
                kind = identity.kind,
                name = identity.name,
                error = error as &dyn std::error::Error,
                "garbage"
            );
        }
        if is_open || outcome.is_err() {
            again.push(identity);
        }
    }
    again
}

fn api_of(
    shared: &Shared,
    watched: &BTreeMap<String, Arc<Kind>>,
    identity: &Identity,
) -> Option<Api<DynamicObject>> {
    let kind = watched.get(&format!("{}/{}", identity.kind, identity.group))?;
    Some(match kind.namespaced {
        true => Api::namespaced_with(shared.client.clone(), &identity.namespace, &kind.resource),
        false => Api::all_with(shared.client.clone(), &kind.resource),
    })
}

/// An owner that no watch has shown may be younger than its watch: ask the server before anything is deleted.
async fn check_owners(
    shared: &Shared,
    graph: &mut Graph,
    watched: &BTreeMap<String, Arc<Kind>>,
    identity: &Identity,
    owners: &[Identity],
) -> Result<(), Error> {
    for owner in owners {
        let Some(api) = api_of(shared, watched, owner) else {
            // A kind that is not watched yet, or not served: nothing can be said about it now.
            return Ok(());
        };
        let found = api.get_opt(&owner.name).await.map_err(Error::api("look for an owner"))?;
        if found.is_some_and(|found| found.metadata.uid.as_deref() == Some(&owner.uid)) {
            return Ok(());
        }
        graph.mark_absent(&owner.uid);
    }
    let verdict = graph.judge(identity);
    carry_out(shared, watched, identity, &verdict).await
}

async fn carry_out(
    shared: &Shared,
    watched: &BTreeMap<String, Arc<Kind>>,
    identity: &Identity,
    verdict: &Verdict,
) -> Result<(), Error> {
    let Some(api) = api_of(shared, watched, identity) else { return Ok(()) };
    match verdict {
        Verdict::Keep | Verdict::Check(_) => Ok(()),
        Verdict::Delete { foreground } => {
            let policy = if *foreground {
                PropagationPolicy::Foreground
            } else {
                PropagationPolicy::Background
            };
            let parameters = DeleteParams {
                propagation_policy: Some(policy),
                preconditions: Some(Preconditions {
                    uid: Some(identity.uid.clone()),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            match ignore_not_found(api.delete(&identity.name, &parameters).await) {
                Ok(_) => Ok(()),
                // Another object of that name by now.
                Err(error) if client::is_conflict(&error) => Ok(()),
                Err(error) => Err(Error::api("delete a dependent")(error)),
            }
        }
        Verdict::RemoveFinalizer { finalizer, remaining } => {
            debug!(kind = identity.kind, name = identity.name, finalizer, "finalizer done");
            let patch = json!({"metadata": {"uid": identity.uid, "finalizers": remaining}});
            ignore_not_found(
                api.patch(&identity.name, &PatchParams::default(), &Patch::Merge(patch)).await,
            )
            .map_err(Error::api("remove a finalizer"))?;
            Ok(())
        }
        Verdict::SetOwners { owners } => {
            let patch = json!({"metadata": {"uid": identity.uid, "ownerReferences": owners}});
            ignore_not_found(
                api.patch(&identity.name, &PatchParams::default(), &Patch::Merge(patch)).await,
            )
            .map_err(Error::api("change a dependent's owners"))?;
            Ok(())
        }
    }
}
