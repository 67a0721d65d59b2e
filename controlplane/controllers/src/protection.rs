//! StorageObjectInUseProtection: claims that a pod uses, and volumes that a claim has, stay until they are free.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::{own_key, wakes},
};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let claims = vec![
        wakes(&informers.claims, |claim| vec![own_key(claim)]),
        wakes(&informers.pods, keys_of_claims),
    ];
    let volumes = vec![wakes(&informers.volumes, |volume| vec![own_key(volume)])];
    let (first, second) = (shared.clone(), shared.clone());
    tokio::join!(
        drive("pvc-protection", &shared, claims, move |key| free_claim(first.clone(), key)),
        drive("pv-protection", &shared, volumes, move |key| free_volume(second.clone(), key)),
    );
}

/// The claims that a pod names, also those made for its ephemeral volumes.
fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{}-{}", pod.name_any(), volume.name)),
            (None, None) => None,
        })
        .collect()
}

fn keys_of_claims(pod: &Pod) -> Vec<Key> {
    let namespace = pod.namespace().unwrap_or_default();
    let names = claims_of(pod).into_iter();
    names.map(|name| Key { namespace: namespace.clone(), name }).collect()
}

/// Whether a pod may still have the claim mounted.
fn uses(pod: &Pod, claim: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    !ended && claims_of(pod).iter().any(|name| name == claim)
}

/// The finalizers without `own`, for an object that is being deleted and has it.
fn without<K: Resource>(object: &K, own: &str) -> Option<Vec<String>> {
    object.meta().deletion_timestamp.as_ref()?;
    let finalizers = object.finalizers();
    finalizers
        .iter()
        .any(|finalizer| finalizer == own)
        .then(|| finalizers.iter().filter(|finalizer| *finalizer != own).cloned().collect())
}

async fn free_claim(shared: Shared, key: Key) -> Result<Again, Error> {
    let claim = shared.informers.claims.get(Some(&key.namespace), &key.name);
    let Some(rest) = claim.as_deref().and_then(|claim| without(claim, CLAIM)) else {
        return Ok(None);
    };
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), &key.namespace);
    let pods = pods.list(&ListParams::default()).await;
    let pods = pods.map_err(Error::api("list the users of a claim"))?;
    // The end of the last user wakes this up again.
    if pods.iter().any(|pod| uses(pod, &key.name)) {
        return Ok(None);
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(shared.client.clone(), &key.namespace);
    set_finalizers(&claims, claim.as_deref(), &rest).await
}

async fn free_volume(shared: Shared, key: Key) -> Result<Again, Error> {
    let volume = shared.informers.volumes.get(None, &key.name);
    let Some(rest) = volume.as_deref().and_then(|volume| without(volume, VOLUME)) else {
        return Ok(None);
    };
    let status = volume.as_deref().and_then(|volume| volume.status.as_ref());
    if status.and_then(|status| status.phase.as_deref()) == Some("Bound") {
        return Ok(None);
    }
    let volumes: Api<PersistentVolume> = Api::all(shared.client.clone());
    set_finalizers(&volumes, volume.as_deref(), &rest).await
}

async fn set_finalizers<K>(
    objects: &Api<K>,
    object: Option<&K>,
    finalizers: &[String],
) -> Result<Again, Error>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let Some(object) = object else { return Ok(None) };
    let patch = Patch::Merge(json!({"metadata": {
        "finalizers": finalizers, "resourceVersion": object.resource_version(),
    }}));
    let patched = objects.patch(&object.name_any(), &PatchParams::default(), &patch).await;
    ignore_not_found(patched).map_err(Error::api("let a claim or volume go"))?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_use_claims_until_they_end() {
        let pod = |phase: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "namespace": "d"},
                "spec": {"containers": [], "volumes": [
                    {"name": "a", "persistentVolumeClaim": {"claimName": "c"}},
                    {"name": "e", "ephemeral": {}}, {"name": "x", "emptyDir": {}}]},
                "status": {"phase": phase}}))
            .unwrap()
        };
        assert_eq!(claims_of(&pod("Running")), ["c", "p-e"]);
        for (phase, claim, expect) in [
            ("Running", "c", true),
            ("Pending", "p-e", true),
            ("Running", "other", false),
            ("Succeeded", "c", false),
        ] {
            assert_eq!(uses(&pod(phase), claim), expect, "{phase} {claim}");
        }
    }

    #[test]
    fn only_deleted_objects_lose_the_finalizer() {
        let claim = |metadata: serde_json::Value| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        let both = json!([CLAIM, "x"]);
        assert_eq!(without(&claim(json!({"finalizers": both})), CLAIM), None);
        let deleted = json!({"finalizers": both, "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(without(&claim(deleted), CLAIM), Some(vec!["x".to_owned()]));
    }
}
