//! The resources that some quota counts: their deletions are watched from the first time that one is asked for.

use std::collections::BTreeMap;

use futures::{StreamExt, stream::BoxStream};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
    discovery::Discovery,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{Error, driver::Shared};

/// Namespaces with deletions that wait to be looked at.
const GONE_MAX: usize = 1024;

type Name = (String, String);

/// One watch per counted resource.
pub(super) struct Watched {
    client: Client,
    shutdown: CancellationToken,
    gone: mpsc::Sender<String>,
    known: Mutex<BTreeMap<Name, ApiResource>>,
}

impl Watched {
    /// The set, still empty, and the namespaces in which something was deleted.
    pub(super) fn new(shared: &Shared) -> (Self, BoxStream<'static, String>) {
        let (gone, namespaces) = mpsc::channel(GONE_MAX);
        let watched = Self {
            client: shared.client.clone(),
            shutdown: shared.shutdown.clone(),
            gone,
            known: Mutex::default(),
        };
        (watched, ReceiverStream::new(namespaces).boxed())
    }

    /// How a resource (group, plural) is addressed; `None` when no such resource is served (yet).
    pub(super) async fn resource(&self, name: &Name) -> Result<Option<ApiResource>, Error> {
        let mut known = self.known.lock().await;
        if let Some(resource) = known.get(name) {
            return Ok(Some(resource.clone()));
        }
        let Some(resource) = self.discover(name).await? else { return Ok(None) };
        known.insert(name.clone(), resource.clone());
        // Pods have an informer already.
        if *name != (String::new(), "pods".to_owned()) {
            self.watch(resource.clone());
        }
        Ok(Some(resource))
    }

    async fn discover(&self, (group, plural): &Name) -> Result<Option<ApiResource>, Error> {
        let discovery = Discovery::new(self.client.clone()).run().await;
        let discovery = discovery.map_err(Error::api("discover what a quota counts"))?;
        let found = discovery.groups().filter(|served| served.name() == group).find_map(|served| {
            let resources = served.recommended_resources().into_iter();
            resources.map(|(resource, _)| resource).find(|resource| resource.plural == *plural)
        });
        Ok(found)
    }

    fn watch(&self, resource: ApiResource) {
        let objects: Api<PartialObjectMeta<DynamicObject>> =
            Api::all_with(self.client.clone(), &resource);
        let (gone, shutdown) = (self.gone.clone(), self.shutdown.clone());
        let mut events = watcher(objects, watcher::Config::default()).default_backoff().boxed();
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    event = events.next() => event,
                };
                let Some(event) = event else { return };
                if let Ok(watcher::Event::Delete(object)) = event
                    && gone.send(object.namespace().unwrap_or_default()).await.is_err()
                {
                    return;
                }
            }
        });
    }
}
