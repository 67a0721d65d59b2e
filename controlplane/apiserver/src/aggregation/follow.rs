//! Keeps APIServices true: local ones for what we answer, conditions and routes for the others.

use std::{sync::Arc, time::Duration};

use api::{Kind, meta};
use serde_json::Value;

use super::{
    Discovered, GROUP, RESOURCE, Remote,
    plan::{self, MANAGED},
    probe,
};
use crate::{
    app::App,
    background,
    cache::Interest,
    clock,
    commit::{self, Next, Place},
    keys::Collection,
};

/// How often a remote server that answers is asked again, as upstream.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// The same for one that does not.
const RETRY_EVERY: Duration = Duration::from_secs(3);

/// Runs until shutdown.
pub async fn follow(app: Arc<App>) {
    let own = Collection::of(GROUP, RESOURCE);
    let definitions = Collection::of("apiextensions.k8s.io", "customresourcedefinitions");
    loop {
        let subscribe = |collection: &Collection| {
            app.cache.collection(collection).subscribe_now(Interest::default()).2
        };
        let (mut services, mut kinds) = (subscribe(&own), subscribe(&definitions));
        // The registry follows definitions too, perhaps a moment later than we do.
        let mut again = false;
        loop {
            keep_local(&app).await;
            let pause = keep_remote(&app).await.or(again.then_some(RETRY_EVERY));
            again = false;
            let event = tokio::select! {
                biased;
                () = app.shutdown.cancelled() => return,
                event = services.future.recv() => event.is_some(),
                event = kinds.future.recv() => {
                    again = true;
                    event.is_some()
                }
                // interval: other servers come and go without telling; that is found out by asking.
                () = sleep(pause) => true,
            };
            // Cut off: start over from what is there.
            if !event {
                break;
            }
            while services.future.try_recv().is_ok() || kinds.future.try_recv().is_ok() {}
        }
    }
}

fn present(app: &App) -> Vec<Arc<Value>> {
    let (items, _) = app.cache.collection(&Collection::of(GROUP, RESOURCE)).list("");
    items.iter().map(|item| item.value().clone()).collect()
}

/// Local APIServices exist for all that is served, and go with it.
async fn keep_local(app: &App) {
    let wanted = plan::local_services(&app.registry.load_full());
    let present = present(app);
    for service in wanted.iter().cloned() {
        if present.iter().any(|one| meta::name(one) == meta::name(&service)) {
            continue;
        }
        if let Err(status) = background::create(app, service).await {
            tracing::warn!(%status, "failed to create a local APIService");
        }
    }
    let local = plan::condition(true, "Local", "Local APIServices are always available");
    for service in self::present(app).iter().filter(|service| plan::remote(service).is_none()) {
        write_condition(app, service, &local).await;
    }
    for stale in &present {
        let managed = stale["metadata"]["labels"].get(MANAGED).is_some();
        let known = wanted.iter().any(|one| meta::name(one) == meta::name(stale));
        if managed && !known && plan::remote(stale).is_none() {
            change(app, stale, |current| Next::Delete(current.clone())).await;
        }
    }
}

/// Waits until the servers are asked again; for ever when there are none.
async fn sleep(pause: Option<Duration>) {
    match pause {
        // interval: other servers come and go without telling; that is found out by asking.
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// Probes every remote server and publishes routes. When to do so again.
async fn keep_remote(app: &App) -> Option<Duration> {
    let mut remotes: Vec<Arc<Remote>> = Vec::new();
    let mut known: Vec<Arc<Discovered>> = Vec::new();
    let mut healthy = true;
    let services = present(app);
    let probed = services.iter().filter_map(|service| Some((service, plan::remote(service)?)));
    let probes = probed.map(|(service, remote)| async move { (service, look(app, remote).await) });
    for (service, (remote, found)) in futures::future::join_all(probes).await {
        let condition = match &found {
            Ok(_) => plan::condition(true, "Passed", "all checks passed"),
            Err((reason, message)) => plan::condition(false, reason, message),
        };
        healthy &= found.is_ok();
        if let Some(mut remote) = remote {
            remote.available = found.is_ok();
            remotes.push(Arc::new(remote));
        }
        known.extend(found.ok().map(Arc::new));
        write_condition(app, service, &condition).await;
    }
    remotes.sort_by_key(|remote| std::cmp::Reverse(remote.group_priority));
    let none = remotes.is_empty() && healthy;
    app.aggregation.remotes.store(Arc::new(remotes));
    app.aggregation.known.store(Arc::new(known));
    (!none).then_some(if healthy { PROBE_EVERY } else { RETRY_EVERY })
}

type Found = Result<Discovered, (&'static str, String)>;

async fn look(app: &App, remote: Result<Remote, crate::reach::Error>) -> (Option<Remote>, Found) {
    let remote = match remote {
        Ok(remote) => remote,
        Err(error) => return (None, Err(("FailedDiscoveryCheck", error.to_string()))),
    };
    if let Err(missing) = plan::check_service(&*app.cache, &remote) {
        return (Some(remote), Err(missing));
    }
    let found = probe::discover(app, &remote).await;
    (Some(remote), found.map_err(|message| ("FailedDiscoveryCheck", message)))
}

async fn write_condition(app: &App, service: &Value, wanted: &Value) {
    let current = |service: &Value| {
        let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "Available")
    };
    let same = |service: &Value| {
        current(service).is_some_and(|condition| {
            ["status", "reason", "message"].iter().all(|field| condition[field] == wanted[field])
        })
    };
    if same(service) {
        return;
    }
    change(app, service, |object| {
        if same(object) {
            return Next::Keep;
        }
        let mut condition = wanted.clone();
        let before = current(object);
        let kept = before.filter(|before| before["status"] == wanted["status"]);
        condition["lastTransitionTime"] = match kept {
            Some(before) => before["lastTransitionTime"].clone(),
            None => clock::now().into(),
        };
        let mut object = object.clone();
        object["status"]["conditions"] = Value::Array(vec![condition]);
        Next::Put(object)
    })
    .await;
}

async fn change(app: &App, service: &Value, decide: impl Fn(&Value) -> Next) {
    let registry = app.registry.load_full();
    let Some(kind) = registry.find(GROUP, "v1", RESOURCE) else { return };
    let kind: Kind = (**kind).clone();
    let place = Place::new(&kind, "", meta::name(service));
    let written =
        commit::update(app, &kind, &place, false, |current| Ok(decide(current.value()))).await;
    if let Err(status) = written {
        tracing::debug!(%status, service = meta::name(service), "an APIService was not written");
    }
}
