//! Who a stateful set's pods are: names, ordinals, revisions, claims (upstream `stateful_set_utils.go`). Pure.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{
        PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
    },
};
use kube::{Resource, ResourceExt};

use crate::{podset::from_template, revisions::HASH_LABEL};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The name of the pod with this ordinal.
pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.name_any())
}

/// The ordinal of a pod of the set.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.name_any();
    name.strip_prefix(&set.name_any())?.strip_prefix('-')?.parse().ok()
}

/// The name of the revision that a pod was made from.
pub(super) fn revision(pod: &Pod) -> &str {
    pod.labels().get(HASH_LABEL).map_or("", String::as_str)
}

/// The pod with this ordinal, of a template that the revision names.
pub(super) fn pod_of(
    set: &StatefulSet,
    template: &PodTemplateSpec,
    revision: &str,
    ordinal: i32,
) -> Pod {
    let name = pod_name(set, ordinal);
    let owner = set.controller_owner_ref(&());
    let mut pod = from_template(template, set.namespace(), String::new(), owner);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), revision.into());
    labels.insert(NAME_LABEL.into(), name.clone());
    labels.insert(INDEX_LABEL.into(), ordinal.to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    let volumes = spec.volumes.get_or_insert_default();
    for claim in claims(set, ordinal) {
        let template = claim_template(&claim, &name);
        volumes.retain(|volume| volume.name != template);
        volumes.push(Volume {
            name: template,
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.name_any(),
                read_only: Some(false),
            }),
            ..Volume::default()
        });
    }
    pod
}

fn claim_template(claim: &PersistentVolumeClaim, pod: &str) -> String {
    let name = claim.name_any();
    name.strip_suffix(&format!("-{pod}")).unwrap_or(&name).to_owned()
}

/// The claims of the pod with this ordinal, which nobody owns yet.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let spec = set.spec.clone().unwrap_or_default();
    let labels = spec.selector.match_labels;
    let templates = spec.volume_claim_templates.into_iter().flatten();
    templates
        .map(|template| {
            let mut claim = template;
            let name = format!("{}-{}", claim.name_any(), pod_name(set, ordinal));
            claim.metadata.name = Some(name);
            claim.metadata.namespace = set.namespace();
            claim
                .metadata
                .labels
                .get_or_insert_default()
                .extend(labels.clone().unwrap_or_default());
            claim.status = None;
            claim
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_has_its_name_and_its_claims() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "n"}, "spec": {
            "serviceName": "svc", "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": []}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}}))
        .expect("a set");
        let template = set.spec.clone().unwrap_or_default().template;
        let pod = pod_of(&set, &template, "db-1", 2);
        assert_eq!(
            (pod.name_any().as_str(), ordinal(&set, &pod), revision(&pod)),
            ("db-2", Some(2), "db-1")
        );
        let spec = pod.spec.expect("a spec");
        assert_eq!(
            (spec.hostname.as_deref(), spec.subdomain.as_deref()),
            (Some("db-2"), Some("svc"))
        );
        let volumes = spec.volumes.expect("volumes");
        let source = volumes[0].persistent_volume_claim.as_ref().expect("a claim");
        assert_eq!((volumes[0].name.as_str(), source.claim_name.as_str()), ("data", "data-db-2"));
        assert_eq!(claims(&set, 2)[0].labels()["a"], "b");
    }
}
