//! Aggregated ClusterRoles show in `rules` what their selectors gather (upstream `clusterroleaggregation`). What they
//! allow does not wait for this: the authorizer gathers for itself.

use std::sync::Arc;

use api::{Kind, meta};
use serde_json::Value;

use crate::{
    app::App,
    cache::Interest,
    commit::{self, Next, Place},
    keys::Collection,
};

const GROUP: &str = "rbac.authorization.k8s.io";
const RESOURCE: &str = "clusterroles";

/// Runs until shutdown.
pub async fn aggregate_roles(app: Arc<App>) {
    let cached = app.cache.collection(&Collection::of(GROUP, RESOURCE));
    loop {
        let (_, _, mut subscription) = cached.subscribe_now(Interest::default());
        loop {
            gather(&app).await;
            let event = tokio::select! {
                biased;
                () = app.shutdown.cancelled() => return,
                event = subscription.future.recv() => event,
            };
            // Cut off: start over from what is there.
            if event.is_none() {
                break;
            }
            while subscription.future.try_recv().is_ok() {}
        }
    }
}

async fn gather(app: &App) {
    let (items, _) = app.cache.collection(&Collection::of(GROUP, RESOURCE)).list("");
    let all: Vec<Arc<Value>> = items.iter().map(|item| item.value().clone()).collect();
    let registry = app.registry.load_full();
    let Some(kind) = registry.find(GROUP, "v1", RESOURCE) else { return };
    let kind: Kind = (**kind).clone();
    for role in all.iter().filter(|role| role["aggregationRule"].is_object()) {
        let rules = Value::Array(access::authz::aggregate(role, &all));
        if same(&role["rules"], &rules) {
            continue;
        }
        let place = Place::new(&kind, "", meta::name(role));
        let write = |current: &Value| {
            if !current["aggregationRule"].is_object() || same(&current["rules"], &rules) {
                return Next::Keep;
            }
            let mut role = current.clone();
            role["rules"] = rules.clone();
            Next::Put(role)
        };
        let written =
            commit::update(app, &kind, &place, false, |item| Ok(write(item.value()))).await;
        if let Err(status) = written {
            tracing::debug!(%status, role = meta::name(role), "an aggregated role was not written");
        }
    }
}

/// Absent rules are no rules.
fn same(have: &Value, want: &Value) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(have) == list(want)
}
