//! Every namespace has a `default` ServiceAccount and the cluster's CA (`kube-root-ca.crt`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    informers::{own_key, wakes},
};

const ROOT_CA: &str = "kube-root-ca.crt";

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared, ca_pem: String) {
    let informers = &shared.informers;
    let woken = vec![
        wakes(&informers.namespaces, |namespace| vec![own_key(namespace)]),
        wakes(&informers.service_accounts, |account| vec![namespace_key(account)]),
        wakes(&informers.root_cas, |map| vec![namespace_key(map)]),
    ];
    let owned = shared.clone();
    let ca_pem: Arc<str> = ca_pem.into();
    drive("serviceaccount", &shared, woken, move |key| {
        reconcile(owned.clone(), Arc::clone(&ca_pem), key)
    })
    .await;
}

fn namespace_key<K: Resource>(object: &K) -> Key {
    Key { namespace: String::new(), name: object.namespace().unwrap_or_default() }
}

async fn reconcile(shared: Shared, ca_pem: Arc<str>, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let Some(namespace) = informers.namespaces.get(None, &key.name) else { return Ok(None) };
    if is_terminating(&namespace) {
        return Ok(None);
    }
    if informers.service_accounts.get(Some(&key.name), "default").is_none() {
        let api: Api<ServiceAccount> = Api::namespaced(shared.client.clone(), &key.name);
        let mut account = ServiceAccount::default();
        account.metadata.name = Some("default".into());
        created(api.create(&PostParams::default(), &account).await)?;
    }
    let wanted = [("ca.crt".to_owned(), ca_pem.to_string())].into();
    let api: Api<ConfigMap> = Api::namespaced(shared.client.clone(), &key.name);
    match informers.root_cas.get(Some(&key.name), ROOT_CA) {
        Some(present) if present.data.as_ref() == Some(&wanted) => {}
        Some(_) => {
            let patch = Patch::Merge(json!({"data": wanted}));
            api.patch(ROOT_CA, &PatchParams::default(), &patch)
                .await
                .map_err(Error::api("publish the cluster's CA"))?;
        }
        None => {
            let mut map = ConfigMap { data: Some(wanted), ..ConfigMap::default() };
            map.metadata.name = Some(ROOT_CA.into());
            created(api.create(&PostParams::default(), &map).await)?;
        }
    }
    Ok(None)
}

fn is_terminating(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

/// Fine if it exists, or if the namespace began to go meanwhile.
fn created<K>(result: Result<K, kube::Error>) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if client::is_already_exists(&error) || client::is_not_found(&error) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(Error::api("set up a namespace")(error)),
    }
}
