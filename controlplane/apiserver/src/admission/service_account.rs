//! ServiceAccount: a pod runs as an account, gets its pull secrets and a volume with a token, the CA and its namespace.

use std::{sync::Arc, time::Duration};

use api::{Status, meta};
use serde_json::{Value, json};

use crate::{
    cache::{Interest, Item},
    call::Call,
    errors,
    keys::Collection,
    verbs::create::random_suffix,
};

/// Where containers find their token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Token lifetime asked for; the odd 7 seconds mark these tokens, as upstream.
const TOKEN_SECONDS: u32 = 3607;
/// How long the `default` account of a namespace just made is waited for.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_secs(1);
const MIRROR: &str = "kubernetes.io/config.mirror";

pub async fn admit(call: &Call, pod: &mut Value) -> Result<(), Status> {
    if pod["metadata"]["annotations"].get(MIRROR).is_some() {
        return Ok(());
    }
    let named = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    let name = if named.is_empty() { "default" } else { named }.to_owned();
    let namespace = meta::namespace(pod).to_owned();
    let Some(account) = find(call, &namespace, &name).await else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        );
        return Err(errors::forbidden(&call.kind, meta::name(pod), &why));
    };
    pod["spec"]["serviceAccountName"] = json!(name);
    pod["spec"]["serviceAccount"] = json!(name);
    let account = account.value();
    let secrets = &account["imagePullSecrets"];
    if is_empty(&pod["spec"]["imagePullSecrets"]) && !is_empty(secrets) {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
    let wanted = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if wanted {
        mount_token(pod, &format!("kube-api-access-{}", random_suffix()));
    }
    Ok(())
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

async fn find(call: &Call, namespace: &str, name: &str) -> Option<Arc<Item>> {
    let accounts = Collection::of("", "serviceaccounts");
    let cache = &call.app.cache;
    if let Some(account) = cache.get(&accounts, namespace, name) {
        return Some(account);
    }
    if name != "default" {
        return None;
    }
    let interest = Interest { namespace: namespace.into(), name: name.into() };
    let (present, _, mut subscription) = cache.collection(&accounts).subscribe_now(interest);
    if let Some(account) = present.into_iter().next() {
        return Some(account);
    }
    let event = tokio::time::timeout(DEFAULT_ACCOUNT_WAIT, subscription.future.recv()).await;
    event.ok().flatten().filter(|event| !event.deleted).map(|event| event.item.clone())
}

/// Adds the token volume, and its mount to every container that has nothing mounted there.
fn mount_token(pod: &mut Value, volume: &str) {
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            let mounted = container["volumeMounts"]
                .as_array()
                .is_some_and(|mounts| mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH));
            if !mounted {
                used = true;
                let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
                push(&mut container["volumeMounts"], mount);
            }
        }
    }
    if used {
        push(&mut pod["spec"]["volumes"], token_volume(volume));
    }
}

fn push(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_that_bring_their_own_token_are_left_alone() {
        let mut pod = json!({"spec": {"containers": [
            {"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}]}});
        mount_token(&mut pod, "v");
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], "v");
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        assert_eq!(pod["spec"]["volumes"][0]["name"], "v");
    }
}
