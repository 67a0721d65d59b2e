//! Revisions and the name of a template (upstream `util/deployment_util.go`).

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::PodTemplateSpec,
};
use kube::ResourceExt;

/// The revision of a replica set and of its deployment.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// The label that tells the pods of a deployment's sets apart.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
/// Letters and digits that make no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The annotations of a deployment that its sets do not get.
const OWN_ANNOTATIONS: &[&str] =
    &["kubectl.kubernetes.io/last-applied-configuration", REVISION, DESIRED, MAX];

/// The revision number of a set; 0 where it has none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Annotations that a set takes over from its deployment.
pub(super) fn inherited(deployment: &Deployment) -> impl Iterator<Item = (String, String)> + '_ {
    let all = deployment.annotations().iter();
    all.filter(|(key, _)| !OWN_ANNOTATIONS.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
}

/// A template without the label that we add.
pub(super) fn plain(template: Option<&PodTemplateSpec>) -> PodTemplateSpec {
    let mut template = template.cloned().unwrap_or_default();
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH_LABEL);
    }
    meta.creation_timestamp = None;
    template
}

/// A short name for a template: equal templates have equal names. 32-bit FNV-1a over its JSON.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let json = serde_json::to_vec(&plain(Some(template))).unwrap_or_default();
    let mut hash = 0x811c_9dc5_u32;
    for byte in json.iter().chain(&collisions.to_le_bytes()) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    let digits = hash.to_string();
    digits.bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}
