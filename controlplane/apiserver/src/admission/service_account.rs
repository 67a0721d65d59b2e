//! ServiceAccount: a pod runs as an account, gets its pull secrets and a volume with a token, the CA and its namespace.

use std::{sync::Arc, time::Duration};

use api::{Status, meta};
use serde_json::{Value, json};

use super::request::Request;
use crate::{
    cache::{Interest, Item},
    call::Call,
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
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An account with this may only use the secrets it lists.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

pub async fn admit(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if !request.is_create() || !request.is("", "pods") || is_mirror(pod) {
        return Ok(());
    }
    let named = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    let name = if named.is_empty() { "default" } else { named }.to_owned();
    pod["spec"]["serviceAccountName"] = json!(name);
    pod["spec"]["serviceAccount"] = json!(name);
    let account = account_of(request, pod).await?;
    fill(pod, account.value());
    Ok(())
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

async fn account_of(request: &Request<'_>, pod: &Value) -> Result<Arc<Item>, Status> {
    let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    let namespace = &request.namespace;
    if let Some(account) = find(request.call, namespace, name).await {
        return Ok(account);
    }
    let why = format!(
        "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
    );
    Err(request.refuse(pod, &why))
}

/// Pull secrets and the token volume, where the pod has none and the account gives them.
fn fill(pod: &mut Value, account: &Value) {
    let secrets = &account["imagePullSecrets"];
    if is_empty(&pod["spec"]["imagePullSecrets"]) && !is_empty(secrets) {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
    let wanted = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if wanted {
        mount_token(pod);
    }
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

/// Adds the token volume, and its mount to every container that has nothing mounted there. A volume from an earlier
/// pass is used again.
fn mount_token(pod: &mut Value) {
    let volumes = pod["spec"]["volumes"].as_array().map_or(&[][..], Vec::as_slice);
    let mut names = volumes.iter().filter_map(|volume| volume["name"].as_str());
    let present = names.find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let volume = present.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", random_suffix()));
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
    if used && present.is_none() {
        push(&mut pod["spec"]["volumes"], token_volume(&volume));
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

/// What a mirror pod may not have, and which secrets a pod may use.
pub async fn validate(request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    let debugs = request.is_update() && request.is_sub("", "pods", "ephemeralcontainers");
    let creates = request.is_create() && request.is("", "pods");
    if !debugs && !creates {
        return Ok(());
    }
    if is_mirror(pod) {
        return match mirror_problem(pod) {
            Some(why) => Err(request.refuse(pod, why)),
            None => Ok(()),
        };
    }
    let account = account_of(request, pod).await?;
    let account = account.value();
    if account["metadata"]["annotations"][ENFORCE] != "true" {
        return Ok(());
    }
    match secret_problem(pod, account) {
        Some(why) => Err(request.refuse(pod, &why)),
        None => Ok(()),
    }
}

fn mirror_problem(pod: &Value) -> Option<&'static str> {
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    if !account.is_empty() {
        return Some("a mirror pod may not reference service accounts");
    }
    let text = pod["spec"].to_string();
    let names = |keys: &[&str]| keys.iter().any(|key| text.contains(key));
    if names(&["\"secretKeyRef\":", "\"secretRef\":", "\"secretName\":"]) {
        return Some("a mirror pod may not reference secrets");
    }
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let projects = volumes
        .flat_map(|volume| volume["projected"]["sources"].as_array())
        .flatten()
        .any(|source| source["serviceAccountToken"].is_object());
    projects.then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

/// The first secret that an account with [`ENFORCE`] does not list, in upstream's words.
fn secret_problem(pod: &Value, account: &Value) -> Option<String> {
    let name = meta::name(account);
    let listed = |list: &str, secret: &str| {
        account[list].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == secret))
    };
    let rest = |secret: &str| {
        format!(
            "referencing secret.secretName={secret:?} is not allowed because service account {name} does not reference that secret"
        )
    };
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        if let Some(secret) = volume["secret"]["secretName"].as_str()
            && !listed("secrets", secret)
        {
            return Some(format!(
                "volume with secret.secretName={secret:?} is not allowed because service account {name} does not reference that secret"
            ));
        }
    }
    for (list, what) in [
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ] {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            let own = container["name"].as_str().unwrap_or_default();
            for variable in container["env"].as_array().into_iter().flatten() {
                if let Some(secret) = variable["valueFrom"]["secretKeyRef"]["name"].as_str()
                    && !listed("secrets", secret)
                {
                    let variable = variable["name"].as_str().unwrap_or_default();
                    return Some(format!("{what} {own} with envVar {variable} {}", rest(secret)));
                }
            }
            for source in container["envFrom"].as_array().into_iter().flatten() {
                if let Some(secret) = source["secretRef"]["name"].as_str()
                    && !listed("secrets", secret)
                {
                    return Some(format!("{what} {own} with envFrom {}", rest(secret)));
                }
            }
        }
    }
    let pulls = pod["spec"]["imagePullSecrets"].as_array().into_iter().flatten().enumerate();
    for (index, pull) in pulls {
        let secret = pull["name"].as_str().unwrap_or_default();
        if !listed("imagePullSecrets", secret) {
            return Some(format!(
                "imagePullSecrets[{index}].name={secret:?} is not allowed because service account {name} does not reference that imagePullSecret"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_that_bring_their_own_token_are_left_alone() {
        let mut pod = json!({"spec": {"containers": [
            {"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}]}});
        mount_token(&mut pod);
        let volume = pod["spec"]["volumes"][0]["name"].clone();
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], volume);
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        // A webhook adds a container; the second pass mounts the same volume there.
        pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "c"}));
        mount_token(&mut pod);
        assert_eq!(pod["spec"]["containers"][2]["volumeMounts"][0]["name"], volume);
        assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn secrets_outside_the_accounts_list_are_refused() {
        let account = json!({"metadata": {"name": "sa"}, "secrets": [{"name": "ok"}]});
        for (spec, expect) in [
            (json!({"volumes": [{"name": "v", "secret": {"secretName": "ok"}}]}), None),
            (
                json!({"volumes": [{"name": "v", "secret": {"secretName": "no"}}]}),
                Some(
                    "volume with secret.secretName=\"no\" is not allowed because service account sa does not reference that secret",
                ),
            ),
            (
                json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "no"}}}]}]}),
                Some(
                    "container c with envVar E referencing secret.secretName=\"no\" is not allowed because service account sa does not reference that secret",
                ),
            ),
            (
                json!({"imagePullSecrets": [{"name": "p"}]}),
                Some(
                    "imagePullSecrets[0].name=\"p\" is not allowed because service account sa does not reference that imagePullSecret",
                ),
            ),
        ] {
            let pod = json!({"spec": spec});
            assert_eq!(secret_problem(&pod, &account).as_deref(), expect);
        }
    }
}
