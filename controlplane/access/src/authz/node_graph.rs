//! What the pods of a node refer to: the objects its kubelet may read.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use crate::Lookup;

/// Marks the API copy of a pod that a kubelet runs from a file. A node can write those itself, so they prove nothing.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

/// Pods on the node that came through the API.
pub(super) fn pods(lookup: &dyn Lookup, node: &str) -> Vec<Arc<Value>> {
    lookup.pods_on_node(node).into_iter().filter(|pod| !is_mirror(pod)).collect()
}

/// Whether a pod on the node refers to the object.
pub(super) fn is_related(
    lookup: &dyn Lookup,
    node: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let pods = pods(lookup, node);
    let mut local = pods.iter().filter(|pod| api::meta::namespace(pod) == namespace);
    match resource {
        "secrets" => {
            local.any(|pod| secrets_of(pod).contains(name))
                || volumes_of_node(lookup, &pods)
                    .iter()
                    .any(|volume| has_secret(volume, namespace, name))
        }
        "configmaps" => local.any(|pod| config_maps_of(pod).contains(name)),
        "persistentvolumeclaims" => local.any(|pod| claims_of(pod).contains(name)),
        "persistentvolumes" => {
            volumes_of_node(lookup, &pods).iter().any(|volume| api::meta::name(volume) == name)
        }
        "resourceclaims" => local.any(|pod| resource_claims_of(pod).contains(name)),
        "serviceaccounts" => {
            local.any(|pod| pod["spec"]["serviceAccountName"].as_str() == Some(name))
        }
        "pods" => local.any(|pod| api::meta::name(pod) == name),
        _ => false,
    }
}

fn items<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    lists.into_iter().flat_map(|list| items(&pod["spec"], list))
}

/// Names in `env[].valueFrom.<key_ref>` and `envFrom[].<from_ref>` of every container.
fn environment<'a>(
    pod: &'a Value,
    key_ref: &'a str,
    from_ref: &'a str,
) -> impl Iterator<Item = &'a str> {
    containers(pod).flat_map(move |container| {
        let keys =
            items(container, "env").iter().map(move |env| &env["valueFrom"][key_ref]["name"]);
        let whole = items(container, "envFrom").iter().map(move |from| &from[from_ref]["name"]);
        keys.chain(whole).filter_map(Value::as_str)
    })
}

/// Volume sources and, of projected volumes, their sources.
fn volume_sources(pod: &Value) -> impl Iterator<Item = &Value> {
    items(&pod["spec"], "volumes")
        .iter()
        .flat_map(|volume| std::iter::once(volume).chain(items(&volume["projected"], "sources")))
}

fn secrets_of(pod: &Value) -> BTreeSet<&str> {
    let pull = items(&pod["spec"], "imagePullSecrets").iter().map(|secret| &secret["name"]);
    let volumes = volume_sources(pod).flat_map(|source| {
        let driver = ["cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];
        let by_driver = driver.into_iter().map(|driver| &source[driver]["secretRef"]["name"]);
        by_driver.chain([
            &source["secret"]["secretName"],
            &source["secret"]["name"],
            &source["azureFile"]["secretName"],
            &source["csi"]["nodePublishSecretRef"]["name"],
        ])
    });
    pull.chain(volumes)
        .filter_map(Value::as_str)
        .chain(environment(pod, "secretKeyRef", "secretRef"))
        .collect()
}

fn config_maps_of(pod: &Value) -> BTreeSet<&str> {
    let volumes = volume_sources(pod).filter_map(|source| source["configMap"]["name"].as_str());
    volumes.chain(environment(pod, "configMapKeyRef", "configMapRef")).collect()
}

fn claims_of(pod: &Value) -> BTreeSet<String> {
    let volumes = items(&pod["spec"], "volumes").iter();
    let named =
        volumes.clone().filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    let made = volumes.filter(|volume| volume["ephemeral"].is_object()).filter_map(|volume| {
        Some(format!("{}-{}", api::meta::name(pod), volume["name"].as_str()?))
    });
    named.map(str::to_owned).chain(made).collect()
}

fn resource_claims_of(pod: &Value) -> BTreeSet<&str> {
    let direct = items(&pod["spec"], "resourceClaims").iter();
    let made = items(&pod["status"], "resourceClaimStatuses").iter();
    direct.chain(made).filter_map(|claim| claim["resourceClaimName"].as_str()).collect()
}

fn volumes_of_node(lookup: &dyn Lookup, pods: &[Arc<Value>]) -> Vec<Arc<Value>> {
    let claims = pods.iter().flat_map(|pod| {
        let namespace = api::meta::namespace(pod);
        claims_of(pod)
            .into_iter()
            .filter_map(move |claim| lookup.get("", "persistentvolumeclaims", namespace, &claim))
    });
    claims
        .filter_map(|claim| {
            lookup.get("", "persistentvolumes", "", claim["spec"]["volumeName"].as_str()?)
        })
        .collect()
}

fn has_secret(volume: &Value, namespace: &str, name: &str) -> bool {
    let csi = &volume["spec"]["csi"];
    let references = ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"];
    references.into_iter().map(|reference| &csi[reference]).any(|reference| {
        reference["name"].as_str() == Some(name)
            && reference["namespace"].as_str() == Some(namespace)
    })
}
