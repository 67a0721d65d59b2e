//! Whether claims go with their pods or with their set: then these own them, and the garbage collector does the rest
//! (KEP-1847, upstream `updateClaimOwnerRefForSetAndPod`). Deciding is pure.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::identity::{claims, ordinal};
use crate::{Error, driver::Shared, error::ignore_not_found};

/// Whether the policy says `Delete` for `(a scaled-down pod, the deleted set)`.
fn policy(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.as_ref();
    let policy = policy.and_then(|it| it.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
    policy.map_or((false, false), |it| {
        (deletes(it.when_scaled.as_ref()), deletes(it.when_deleted.as_ref()))
    })
}

fn is_scaled_down(set: &StatefulSet, ordinal: i32) -> bool {
    let spec = set.spec.clone().unwrap_or_default();
    let start = spec.ordinals.and_then(|it| it.start).unwrap_or(0);
    !(start..start + spec.replicas.unwrap_or(1)).contains(&ordinal)
}

/// Who is to own the claims of the pod with this ordinal, of its set and itself.
pub(super) fn owner(set: &StatefulSet, pod: Option<&Pod>, ordinal: i32) -> Option<OwnerReference> {
    let (scaled, deleted) = policy(set);
    if scaled && is_scaled_down(set, ordinal) {
        let reference = pod.and_then(|pod| pod.controller_owner_ref(&()))?;
        return Some(OwnerReference { block_owner_deletion: Some(true), ..reference });
    }
    let reference = set.controller_owner_ref(&()).filter(|_| deleted)?;
    Some(OwnerReference { block_owner_deletion: Some(true), ..reference })
}

/// The claim's owners as they are to be, when they are not so already. Owners other than set and pod stay.
fn owners(
    set: &StatefulSet,
    pod: &Pod,
    ordinal: i32,
    claim: &PersistentVolumeClaim,
) -> Option<Vec<OwnerReference>> {
    let before = claim.owner_references();
    let foreign = before.iter().any(|it| {
        it.controller == Some(true)
            && Some(&it.uid) != set.metadata.uid.as_ref()
            && Some(&it.uid) != pod.metadata.uid.as_ref()
    });
    let ours = |it: &OwnerReference| {
        (it.kind == "StatefulSet" && it.name == set.name_any())
            || (it.kind == "Pod" && it.name == pod.name_any())
    };
    let mut after: Vec<OwnerReference> = before.iter().filter(|it| !ours(it)).cloned().collect();
    after.extend(owner(set, Some(pod), ordinal).filter(|_| !foreign));
    (after != before).then_some(after)
}

/// Makes the claims of the set's pods be owned as its policy says.
pub(super) async fn apply(
    shared: &Shared,
    set: &StatefulSet,
    pods: &[Arc<Pod>],
) -> Result<(), Error> {
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(shared.client.clone(), &namespace);
    for pod in pods {
        let Some(ordinal) = ordinal(set, pod) else { continue };
        for claim in claims(set, ordinal) {
            let name = claim.name_any();
            let Some(claim) = shared.informers.claims.get(Some(&namespace), &name) else {
                continue;
            };
            let Some(owners) = owners(set, pod, ordinal, &claim) else { continue };
            let version = &claim.metadata.resource_version;
            let metadata = json!({"resourceVersion": version, "ownerReferences": owners});
            let patch = Patch::Merge(json!({"metadata": metadata}));
            ignore_not_found(api.patch(&name, &PatchParams::default(), &patch).await)
                .map_err(Error::api("change a claim's owner"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_policy_says_who_owns_a_claim() {
        let pod: Pod = serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "s-1", "uid": "pod"}}))
        .expect("a pod");
        let owned_by = |owners: Value| -> PersistentVolumeClaim {
            serde_json::from_value(
                json!({"metadata": {"name": "data-s-1", "ownerReferences": owners}}),
            )
            .expect("a claim")
        };
        let of_set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "set",
            "controller": true, "blockOwnerDeletion": true});
        let of_pod = json!({"apiVersion": "v1", "kind": "Pod", "name": "s-1", "uid": "pod",
            "controller": true, "blockOwnerDeletion": true});
        let other =
            json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x", "controller": true});
        for (scaled, deleted, replicas, before, expect) in [
            ("Retain", "Retain", 2, json!([]), None),
            ("Retain", "Retain", 2, json!([of_set]), Some(json!([]))),
            ("Retain", "Delete", 2, json!([]), Some(json!([of_set]))),
            ("Retain", "Delete", 1, json!([of_set]), None),
            ("Delete", "Retain", 2, json!([]), None),
            ("Delete", "Retain", 1, json!([]), Some(json!([of_pod]))),
            ("Delete", "Delete", 1, json!([of_set]), Some(json!([of_pod]))),
            ("Delete", "Delete", 2, json!([of_pod]), Some(json!([of_set]))),
            ("Delete", "Delete", 2, json!([other]), None),
        ] {
            let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "s", "uid": "set"},
                "spec": {"replicas": replicas, "selector": {}, "template": {},
                    "persistentVolumeClaimRetentionPolicy": {"whenScaled": scaled, "whenDeleted": deleted}}}))
            .expect("a set");
            let after = owners(&set, &pod, 1, &owned_by(before.clone())).map(|it| json!(it));
            assert_eq!(after, expect, "{scaled} {deleted} {replicas} {before}");
        }
    }
}
