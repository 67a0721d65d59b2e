//! The machine code of the kinds that many crates follow, compiled here once.
//!
//! Rust compiles a generic function where it is used with a type, so every crate with an `Informer<Pod>` would compile
//! how a pod is read from JSON again: thousands of functions. Crates of optimisation level 1 use the copies of crates
//! below them instead (`share-generics`), if there are any; the functions here see to that. Nobody calls them.

use futures::{FutureExt, StreamExt, future::BoxFuture};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service},
        discovery::v1::EndpointSlice,
    },
    serde::{Serialize, de::DeserializeOwned},
};
use kube::{Api, Client, Resource, runtime::watcher};

use crate::Informer;

/// What a crate with `Informer<K>` and `Api<K>` uses of them.
fn uses<K>(client: Client) -> BoxFuture<'static, kube::Result<()>>
where
    K: Resource<DynamicType = ()>,
    K: Clone + Serialize + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    async move {
        let api = Api::<K>::all(client);
        let informer = Informer::start(api.clone(), watcher::Config::default());
        let _stopped = informer.clone().ready().await;
        let _change = informer.changes().next().await;
        let found = (informer.get(None, ""), informer.all());
        drop(found);
        let (read, list) = (api.get("").await?, api.list(&Default::default()).await?);
        let _again = (api.get_opt("").await?, list.items.clone());
        api.create(&Default::default(), &read).await?;
        api.replace("", &Default::default(), &read).await?;
        api.patch("", &Default::default(), &kube::api::Patch::Merge(&read)).await?;
        let patch = kube::api::Patch::Merge(serde_json::Value::Null);
        api.patch("", &Default::default(), &patch).await?;
        api.patch_status("", &Default::default(), &patch).await?;
        drop(api.delete("", &Default::default()).await?);
        Ok(())
    }
    .boxed()
}

macro_rules! compiled_here {
    ($($name:ident: $kind:ty),+ $(,)?) => {$(
        #[doc(hidden)]
        #[inline(never)]
        pub fn $name(client: Client) -> BoxFuture<'static, kube::Result<()>> {
            uses::<$kind>(client)
        }
    )+};
}

compiled_here! {
    config_maps: ConfigMap,
    endpoint_slices: EndpointSlice,
    leases: Lease,
    namespaces: Namespace,
    nodes: Node,
    pods: Pod,
    secrets: Secret,
    services: Service,
}
