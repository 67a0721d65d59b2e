//! Keeps the records equal to the API while the server answers from them. Thin.

use std::sync::Arc;

use client::Informer;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::records::Records;
use crate::{Config, Error, server};

/// Answers until `shutdown`. Names outside the cluster are answered from the start.
pub async fn run(
    client: kube::Client,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (publish, records) = watch::channel(Arc::new(Records::unknown(&config.cluster_domain)));
    let listening = server::bind(&config).await?;
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        ended = follow(client, &config.cluster_domain, publish) => ended,
        () = server::serve(listening, config.upstream.clone(), records) => Ok(()),
    }
}

async fn follow(
    client: kube::Client,
    domain: &str,
    publish: watch::Sender<Arc<Records>>,
) -> Result<(), Error> {
    let services = Informer::start(Api::<Service>::all(client.clone()), watcher::Config::default());
    let slices = Informer::start(Api::<EndpointSlice>::all(client), watcher::Config::default());
    let service_changes = services.changes().map(|_| ());
    let mut changes = futures::stream::select(service_changes, slices.changes().map(|_| ()));
    services.ready().await.map_err(|_| Error::Watch { what: "services" })?;
    slices.ready().await.map_err(|_| Error::Watch { what: "endpoint slices" })?;
    loop {
        publish.send_replace(Arc::new(Records::build(domain, &services.all(), &slices.all())));
        let change = changes.next().await;
        change.ok_or(Error::Watch { what: "services and endpoint slices" })?;
        // All changes that wait already go into one index.
        while let Some(Some(())) = changes.next().now_or_never() {}
    }
}
