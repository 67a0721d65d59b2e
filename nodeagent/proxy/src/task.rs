//! Watches Services and EndpointSlices and loads the difference of their rules. Thin.

use std::time::Duration;

use client::Informer;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use crate::ruleset::{Ruleset, full_script, update_script};
use crate::{Config, Error, plan};

/// Wait after a refused transaction before everything is loaded anew.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Keeps the node's rules equal to the cluster's services until `shutdown`.
pub async fn run(
    client: kube::Client,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let services = Informer::start(Api::<Service>::all(client.clone()), watcher::Config::default());
    let slices = Informer::start(Api::<EndpointSlice>::all(client), watcher::Config::default());
    let service_changes = services.changes().map(|_| ());
    let mut changes = futures::stream::select(service_changes, slices.changes().map(|_| ()));
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        ready = services.ready() => ready.map_err(|_| Error::Watch { what: "services" })?,
    }
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        ready = slices.ready() => ready.map_err(|_| Error::Watch { what: "endpoint slices" })?,
    }
    // Nothing is known of what an earlier process left: the first load replaces the table.
    let mut loaded: Option<Ruleset> = None;
    loop {
        let wanted = plan::plan(&services.all(), &slices.all(), &config);
        loaded = load(loaded, wanted).await;
        let retry = loaded.is_none();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            change = changes.next() => {
                change.ok_or(Error::Watch { what: "services and endpoint slices" })?;
            }
            // interval: only after a failure, see RETRY_AFTER.
            () = tokio::time::sleep(RETRY_AFTER), if retry => {}
        }
        // All changes that wait already go into one transaction.
        while let Some(Some(())) = changes.next().now_or_never() {}
    }
}

/// Returns what the kernel holds afterwards, `None` when that is not known.
async fn load(loaded: Option<Ruleset>, wanted: Ruleset) -> Option<Ruleset> {
    let script = match &loaded {
        Some(loaded) => update_script(loaded, &wanted),
        None => full_script(&wanted),
    };
    if script.is_empty() {
        return loaded;
    }
    match nftables::apply(&script).await {
        Ok(()) => {
            tracing::debug!(chains = wanted.chains.len(), "service rules loaded");
            Some(wanted)
        }
        Err(error) => {
            tracing::warn!(%error, "service rules refused, loading all of them anew");
            None
        }
    }
}
